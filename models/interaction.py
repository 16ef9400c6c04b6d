"""The interaction autoencoder: a multinomial variational autoencoder with a linear last layer.

Liang et al. 2018, Variational Autoencoders for Collaborative Filtering (arXiv:1802.05814).

    bag    = sum_i  (weight_i / |weights|) * embedding_i         (the first layer, on the host)
    hidden = tanh(bag + c)
    u      = A hidden + a                                        (the mean; sampling only in training)
    score  = w_i . u + b_i
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
import numpy as np
import scipy.sparse as sp
from msgspec import Meta

from models.arrays import Floats, Ints
from models.runtime import keras

Width = Annotated[int, Meta(ge=1)]
# Starts the log-variances low, so that the first steps are not all noise.
_FIRST_LOG_VARIANCE: Final = -2.0


class InteractionConfig(msgspec.Struct, frozen=True):
    """The architecture: ``hidden`` is the width of the embeddings and the bag, ``user_dim`` of the code."""

    hidden: Width
    user_dim: Width


def build_user_encoder(config: InteractionConfig, seed: int = 0) -> Any:
    """Return the Keras model from bags ``[batch, hidden]`` to mean and log-variance, ``[batch, 2 * user_dim]``."""
    bag = keras.Input((config.hidden,), name="bag")
    shifted = keras.layers.EinsumDense  # placeholder
    raise NotImplementedError(shifted, seed, bag)


def weighted_bags(embeddings: Floats, indptr: Ints, indices: Ints, weights: Floats) -> Floats:
    """Return the embedding bags of histories, float32 ``[u, hidden]``.

    History ``j`` is ``indices[indptr[j]:indptr[j + 1]]`` (rows of ``embeddings`` ``[n, hidden]``) with the
    same range of ``weights``, which are scaled to length 1. An empty history gives zeros. Rows are summed in
    the order of the history, independently of each other.
    """
    wide = weights.astype(np.float64)
    shape = (len(indptr) - 1, len(embeddings))
    squares = sp.csr_array((wide * wide, indices, indptr), shape=shape)
    norms = np.sqrt(squares @ np.ones(len(embeddings)))
    norms[norms == 0] = 1
    scaled = (wide / np.repeat(norms, np.diff(indptr))).astype(np.float32)
    bags: Floats = sp.csr_array((scaled, indices, indptr), shape=shape) @ embeddings
    return bags
