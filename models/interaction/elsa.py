"""ELSA: a linear shallow autoencoder with item embeddings of length 1 (Vančura et al. 2022, RecSys).

    score(x) = x A A^T - x,     rows of A of length 1;     loss = |score(x)/|score(x)| - x/|x||^2

The loss is exact and needs no vector as long as the catalogue: with u = x A, both ``|u A^T - x|`` and its product
with x follow from u, x and the Gram matrix of A.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from models.arrays import Floats
from models.interaction.base import ENCODER_NAME, Batch, InteractionAutoencoder, bags, table
from models.interaction.config import InteractionConfig
from models.runtime import keras, tf


class Elsa(InteractionAutoencoder):
    """One table for both sides; the code is the bag."""

    linear: ClassVar[bool] = True
    # The whole history is input and target.
    input_share: ClassVar[tuple[float, float]] = (1.0, 1.0)

    def __init__(self, config: InteractionConfig, items: int, seed: int) -> None:
        super().__init__(config, items, seed)
        self._table = table(items, config.user_dim, seed + 1, "table")

    @staticmethod
    def build_user_encoder(config: InteractionConfig, seed: int) -> Any:  # noqa: ARG004
        """Return the Keras model from bags to user codes."""
        bag = keras.Input((config.hidden,), name="bag")
        return keras.Model(bag, keras.layers.Identity(name="code")(bag), name=ENCODER_NAME)

    @property
    def trainable(self) -> list[Any]:
        """The table."""
        return [self._table]

    def loss(self, batch: Batch, seed: Any, progress: Any, group: int) -> Any:  # noqa: ARG002
        """Return the mean squared distance between the directions of history and scores."""
        vectors = tf.math.l2_normalize(self._table, axis=1)
        codes = bags(vectors, batch)
        # x has length 1, so x . (u A^T - x) = |u|^2 - 1.
        squares = tf.reduce_sum(tf.square(codes), axis=1)
        gram = tf.matmul(vectors, vectors, transpose_a=True)
        length = tf.reduce_sum(tf.matmul(codes, gram) * codes, axis=1) - 2 * squares + 1
        return tf.reduce_mean(2 - 2 * (squares - 1) * tf.math.rsqrt(tf.maximum(length, 1e-12)))

    @property
    def embeddings(self) -> Floats:
        """Rows of length 1, float32 ``[items, user_dim]``."""
        values: Floats = tf.math.l2_normalize(self._table, axis=1).numpy()
        return values

    @property
    def retrieval(self) -> Floats:
        """The same with a bias of 0, float32 ``[items, user_dim + 1]``."""
        return np.pad(self.embeddings, ((0, 0), (0, 1)))
