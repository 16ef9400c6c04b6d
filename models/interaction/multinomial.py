"""What the kinds with a network between bag and code share: tables, bias and an encoder that is trained."""

from __future__ import annotations

from typing import Any, ClassVar

from models.arrays import Floats, Ints
from models.interaction.base import InteractionAutoencoder, assign_rows, table, with_bias
from models.interaction.config import InteractionConfig
from models.runtime import tf


class MultinomialAutoencoder(InteractionAutoencoder):
    """Free input embeddings, a network, a linear last layer, and the multinomial likelihood."""

    linear: ClassVar[bool] = False
    temperature: ClassVar[float | None] = 1.0

    def __init__(self, config: InteractionConfig, items: int, seed: int) -> None:
        super().__init__(config, items, seed)
        self._embeddings = table(items, config.hidden, seed + 1, "embeddings")
        self._vectors = table(items, config.user_dim, seed + 3, "vectors")
        self._bias = tf.Variable(tf.zeros(items), name="bias")

    @property
    def table(self) -> Any:
        """The input embeddings, a variable ``[items, hidden]``."""
        return self._embeddings

    def decode(self, items: Any) -> tuple[Any, Any]:
        """Return vectors and biases of items, given as indices."""
        return tf.gather(self._vectors, items), tf.gather(self._bias, items)

    @property
    def decoder(self) -> list[Any]:
        """The variables of the last layer."""
        return [self._vectors, self._bias]

    @property
    def trainable(self) -> list[Any]:
        """All variables that training changes."""
        return [self._embeddings, *self.user_encoder.trainable_variables, *self.decoder]

    def place(self, rows: Ints, embeddings: Floats, retrieval: Floats) -> None:
        """Let some items begin where they are said to lie."""
        assign_rows(self._embeddings, rows, embeddings)
        assign_rows(self._vectors, rows, retrieval[:, :-1])
        assign_rows(self._bias, rows, retrieval[:, -1])

    @property
    def embeddings(self) -> Floats:
        """Input embeddings, float32 ``[items, hidden]``."""
        values: Floats = self._embeddings.numpy()
        return values

    @property
    def retrieval(self) -> Floats:
        """Retrieval vectors ``[w, b]``, float32 ``[items, user_dim + 1]``."""
        return with_bias(self._vectors, self._bias)
