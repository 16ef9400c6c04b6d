"""ELSA: a linear shallow autoencoder with item embeddings of length 1 (Vančura et al. 2022, RecSys).

    score(y) = y A A^T - y,     rows of A of length 1;     loss = |score(y)/|score(y)| - x/|x||^2

There the input y is the history x itself; here it is a random part of it, which makes the autoencoder a denoising
one. On MovieLens-100K (held-out users, validation, five seeds) that took NDCG@100 from .5533 to .5548; EASE had .5505.
The loss is exact and needs no vector as long as the catalogue: with u = y A, both the length of ``u A^T - y`` and
its product with x follow from u, x A and the Gram matrix of A.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np

from models.arrays import Floats, Ints
from models.interaction.base import ENCODER_NAME, Batch, InteractionAutoencoder, assign_rows, bags, table
from models.interaction.config import InteractionConfig
from models.runtime import keras, tf

_TINY: Final = 1e-12


class Elsa(InteractionAutoencoder):
    """One table for both sides; the code is the bag."""

    linear: ClassVar[bool] = True
    input_share: ClassVar[tuple[float, float]] = (0.5, 1.0)
    targets_whole: ClassVar[bool] = True

    def __init__(self, config: InteractionConfig, items: int, seed: int) -> None:
        super().__init__(config, items, seed)
        self._table = table(items, config.user_dim, seed + 1, "table")

    @staticmethod
    def build_user_encoder(config: InteractionConfig, seed: int) -> Any:  # noqa: ARG004
        """Return the Keras model from bags to user codes."""
        bag = keras.Input((config.hidden,), name="bag")
        return keras.Model(bag, keras.layers.Identity(name="code")(bag), name=ENCODER_NAME)

    @property
    def rows(self) -> Any:
        """The rows of length 1, a tensor ``[items, user_dim]``."""
        return tf.math.l2_normalize(self._table, axis=1)

    @property
    def trainable(self) -> list[Any]:
        """The table."""
        return [self._table]

    def loss(self, batch: Batch, seed: Any, progress: Any, group: int) -> Any:  # noqa: ARG002
        """Return the mean squared distance between the directions of history and scores."""
        vectors = self.rows
        codes = bags(vectors, batch)
        weights = batch.target_weights[:, None]
        wholes = tf.math.unsorted_segment_sum(
            tf.gather(vectors, batch.target_items) * weights, batch.target_users, batch.users
        )
        squares = tf.math.unsorted_segment_sum(weights[:, 0] ** 2, batch.target_users, batch.users)
        # y has length 1, and its product with x/|x| is the length it had as a share of x's.
        products = (
            tf.reduce_sum(codes * wholes, axis=1) * tf.math.rsqrt(tf.maximum(squares, _TINY)) - batch.input_shares
        )
        gram = tf.matmul(vectors, vectors, transpose_a=True)
        lengths = tf.reduce_sum(tf.matmul(codes, gram) * codes, axis=1) - 2 * tf.reduce_sum(codes**2, axis=1) + 1
        return tf.reduce_mean(2 - 2 * products * tf.math.rsqrt(tf.maximum(lengths, _TINY)))

    def place(self, rows: Ints, embeddings: Floats, retrieval: Floats) -> None:  # noqa: ARG002
        """Let some items begin where their embeddings are, which the retrieval vectors are as well."""
        assign_rows(self._table, rows, embeddings)

    @property
    def embeddings(self) -> Floats:
        """Rows of length 1, float32 ``[items, user_dim]``."""
        values: Floats = self.rows.numpy()
        return values

    @property
    def retrieval(self) -> Floats:
        """The same with a bias of 0, float32 ``[items, user_dim + 1]``."""
        return np.pad(self.embeddings, ((0, 0), (0, 1)))
