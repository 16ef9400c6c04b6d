"""The denoising autoencoder: sees a corrupted input and is to give back the clean one.

Vincent et al. 2010, "Stacked denoising autoencoders". Once trained it maps noisy items to clean ones, and its
latent has had to learn how features depend on each other.
"""

from __future__ import annotations

from typing import Any

from models.autoencoders.config import CorruptionName
from models.autoencoders.vanilla import Autoencoder
from models.runtime import tf


class Denoising(Autoencoder):
    """Corrupts what the encoder sees in training."""

    def corrupt(self, rows: Any, seed: Any) -> Any:
        """Return corrupted ``rows``."""
        return corrupted(rows, self.config.corruption, self.config.corruption_amount, seed)


def corrupted(rows: Any, corruption: CorruptionName, amount: float, seed: Any) -> Any:
    """Return ``rows`` ``[batch, input_dim]`` with noise from ``seed`` (int32 ``[2]``).

    gaussian: normal noise of standard deviation ``amount``. masking: a share ``amount`` of the values becomes
    0, the mean in standardised units. salt_and_pepper: that share becomes, half each, the lowest and the
    highest value of its row.
    """
    shape = tf.shape(rows)
    if corruption == "gaussian":
        return rows + amount * tf.random.stateless_normal(shape, seed)
    chance = tf.random.stateless_uniform(shape, seed)
    if corruption == "masking":
        return tf.where(chance < amount, 0.0, rows)
    pepper, salt = (reduce(rows, axis=1, keepdims=True) for reduce in (tf.reduce_min, tf.reduce_max))
    return tf.where(chance < amount / 2, pepper, tf.where(chance < amount, salt, rows))
