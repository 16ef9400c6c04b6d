"""Reconstruction losses, and the units of input and output that each works in.

| loss | for | scaled input | scaled output |
|---|---|---|---|
| squared | vectors, pixels | mean 0, variance 1 | as it is |
| binary | pixels, features that are there or not | lowest 0, highest 1 | sigmoid |
| cosine | directions, such as embeddings | mean length √D | scaled to length √D |
| multinomial | counts, shares | mean 1 | softmax times D |

D is the number of features.
"""

from __future__ import annotations

import math
from typing import Any, Final

from models.autoencoders.config import LossName
from models.runtime import tf

_LEAST_NORM: Final = 1e-6


def reconstruction_loss(loss: LossName, output: Any, target: Any) -> Any:
    """Return the loss of each item, ``[batch]``, of the decoder's raw ``output`` ``[batch, input_dim]``.

    squared: mean of ``(output - target)²``; binary: mean cross-entropy with ``sigmoid(output)``; cosine:
    ``1 - cos(output, target)``; multinomial: ``-sum(shares log softmax(output))``, shares of the target's total.
    """
    match loss:
        case "squared":
            return tf.reduce_mean(tf.square(output - target), axis=1)
        case "binary":
            return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(target, output), axis=1)
        case "cosine":
            return 1 - tf.reduce_sum(_unit(output) * _unit(target), axis=1)
        case "multinomial":
            total = tf.maximum(tf.reduce_sum(target, axis=1), _LEAST_NORM)
            return -tf.reduce_sum(target * tf.nn.log_softmax(output), axis=1) / total


def scaled_output(loss: LossName, output: Any) -> Any:
    """Return the reconstruction in scaled units, ``[batch, input_dim]``, of the decoder's raw ``output``."""
    match loss:
        case "squared":
            return output
        case "binary":
            return tf.sigmoid(output)
        case "cosine":
            return _unit(output) * math.sqrt(output.shape[1])
        case "multinomial":
            return tf.nn.softmax(output) * float(output.shape[1])


def _unit(rows: Any) -> Any:
    return rows / tf.sqrt(tf.reduce_sum(tf.square(rows), axis=1, keepdims=True) + _LEAST_NORM**2)
