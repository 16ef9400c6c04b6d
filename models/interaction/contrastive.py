"""A linear autoencoder trained by a contrastive loss: the softmax over cosines, with a temperature.

    u = bag / |bag|,     score_i = u . w_i + b_i,     rows of W of length 1
    loss = -log softmax(score / temperature) of the held-out items
    b_i  = temperature * PRIOR * log(histories that have item i)

The softmax over cosines is that of SimpleX and of Wu et al. 2022 (arXiv:2201.02327, "On the Effectiveness of
Sampled Softmax Loss for Item Recommendation"), whose users have embeddings of their own; here a user is a sum of
items, so that one never seen in training has a code as well.

Cosines hardly tell how popular an item is. The bias does, which is no variable but follows from the counts, and
leaves it to the cosines to tell who wants it.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np

from models.arrays import Floats, Ints, unit_rows
from models.interaction.base import (
    ENCODER_NAME,
    Batch,
    InteractionAutoencoder,
    assign_rows,
    bags,
    negative_log_likelihood,
    with_bias,
)
from models.interaction.config import InteractionConfig
from models.runtime import keras, tf

# Of the first values. Lengths do not count, but the larger they are the slower directions change.
_SPREAD: Final = 0.1
# Validation of Gowalla (192 dimensions, 40 epochs), Recall@20 and NDCG@20: with 0 .2019, .0925; with 0.75 .2045, .0949.
_PRIOR: Final = 0.75


class Contrastive(InteractionAutoencoder):
    """One table for the history, one for the items that are ranked."""

    linear: ClassVar[bool] = True
    temperature: ClassVar[float] = 0.1
    learning_rate: ClassVar[float] = 1e-2
    input_share: ClassVar[tuple[float, float]] = (0.5, 0.9)

    def __init__(self, config: InteractionConfig, items: int, seed: int) -> None:
        super().__init__(config, items, seed)
        self._embeddings, self._vectors = (
            tf.Variable(keras.initializers.RandomNormal(stddev=_SPREAD, seed=seed + n)((items, config.user_dim)))
            for n in (1, 2)
        )
        # In units of logits.
        self._prior = tf.Variable(tf.zeros(items), trainable=False)

    @staticmethod
    def build_user_encoder(config: InteractionConfig, seed: int) -> Any:  # noqa: ARG004
        """Return the Keras model from bags to user codes."""
        bag = keras.Input((config.hidden,), name="bag")
        return keras.Model(bag, keras.layers.UnitNormalization(name="code")(bag), name=ENCODER_NAME)

    @property
    def trainable(self) -> list[Any]:
        """Both tables."""
        return [self._embeddings, self._vectors]

    def loss(self, batch: Batch, seed: Any, progress: Any, group: int) -> Any:  # noqa: ARG002
        """Return the negative log-likelihood of the targets."""
        codes = self.user_encoder(bags(self._embeddings, batch))
        return negative_log_likelihood(codes, self._decode, batch)

    def _decode(self, items: Any) -> tuple[Any, Any]:
        vectors = tf.math.l2_normalize(tf.gather(self._vectors, items), axis=1)
        return vectors / self.temperature, tf.gather(self._prior, items)

    def count(self, owners: Ints) -> None:
        """Set the biases."""
        self._prior.assign(_PRIOR * np.log(np.maximum(owners, 1)))

    def place(self, rows: Ints, embeddings: Floats, retrieval: Floats) -> None:
        """Let some items begin where they are said to lie, as easily moved as new ones."""
        assign_rows(self._embeddings, rows, embeddings)
        length = _SPREAD * np.sqrt(np.float32(self.config.user_dim))
        assign_rows(self._vectors, rows, length * unit_rows(np.ascontiguousarray(retrieval[:, :-1])))

    @property
    def embeddings(self) -> Floats:
        """Input embeddings, float32 ``[items, user_dim]``."""
        values: Floats = self._embeddings.numpy()
        return values

    @property
    def retrieval(self) -> Floats:
        """Rows of length 1 and their biases, float32 ``[items, user_dim + 1]``."""
        return with_bias(tf.math.l2_normalize(self._vectors, axis=1), self.temperature * self._prior)
