"""ELSA and a Mult-VAE side by side: a user's score is the sum of both, on one scale.

The linear part knows which items go together, the other what kind of user this is; VASP (Vančura and Kordík 2021)
joins the same two by a product, which no inner product could serve. The parts have losses and variables of their own.
Scores are brought to one scale by how far they spread over the items, averaged over the training.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np

from models.arrays import Floats, Ints
from models.interaction.base import ENCODER_NAME, Batch, InteractionAutoencoder, bags
from models.interaction.config import InteractionConfig
from models.interaction.elsa import Elsa
from models.interaction.multvae import MultVae
from models.runtime import keras, tf

# Of the moving average of the spreads, a step.
_MEMORY: Final = 0.98
# Items that a spread is measured over.
_MEASURED: Final = 1024


class Hybrid(InteractionAutoencoder):
    """Of the code, the first half (rounded up) is ELSA's, the rest the Mult-VAE's; so is the bag, in proportion."""

    linear: ClassVar[bool] = False
    input_share: ClassVar[tuple[float, float]] = (0.5, 1.0)
    targets_whole: ClassVar[bool] = True

    def __init__(self, config: InteractionConfig, items: int, seed: int) -> None:
        super().__init__(config, items, seed)
        linear, rest = _parts(config)
        self._elsa = Elsa(linear, items, seed)
        self._vae = MultVae(rest, items, seed + 100)
        # The user encoder of the whole is made of the part's own layer, so that it is trained with it.
        self.user_encoder = _joined(config, self._vae.user_encoder)
        self._spreads = tf.Variable([1.0, 1.0], trainable=False)

    @staticmethod
    def build_user_encoder(config: InteractionConfig, seed: int) -> Any:
        """Return the Keras model from bags to user codes."""
        return _joined(config, MultVae.build_user_encoder(_parts(config)[1], seed))

    @property
    def trainable(self) -> list[Any]:
        """The variables of both parts."""
        return [*self._elsa.trainable, *self._vae.trainable]

    @property
    def moving(self) -> list[Any]:
        """The averages of the spreads."""
        return [self._spreads]

    def loss(self, batch: Batch, seed: Any, progress: Any, group: int) -> Any:
        """Return the sum of both losses, which share no variable."""
        self._measure(batch)
        return self._elsa.loss(batch, seed, progress, group) + self._vae.loss(batch, seed, progress, group)

    def _measure(self, batch: Batch) -> None:
        """Note how far the scores of either part spread over some items, on average over the users."""
        items = batch.candidates[:_MEASURED]
        vectors, bias = self._vae.decode(items)
        codes = self._vae.user_encoder(bags(self._vae.table, batch))
        linear = self._elsa.rows
        scores = (
            tf.matmul(bags(linear, batch), tf.gather(linear, items), transpose_b=True),
            tf.matmul(codes, vectors, transpose_b=True) + bias,
        )
        spreads = tf.stack([tf.reduce_mean(tf.math.reduce_std(each, axis=1)) for each in scores])
        self._spreads.assign(_MEMORY * self._spreads + (1 - _MEMORY) * spreads)

    def place(self, rows: Ints, embeddings: Floats, retrieval: Floats) -> None:
        """Let some items begin where they are said to lie; the spread of the Mult-VAE's part is lost, and soon back."""
        linear, _ = _parts(self.config)
        self._elsa.place(rows, embeddings[:, : linear.hidden], retrieval[:, : linear.user_dim + 1])
        self._vae.place(rows, embeddings[:, linear.hidden :], retrieval[:, linear.user_dim :])

    @property
    def embeddings(self) -> Floats:
        """Input embeddings of both parts, float32 ``[items, hidden]``."""
        return np.concatenate([self._elsa.embeddings, self._vae.embeddings], axis=1)

    @property
    def retrieval(self) -> Floats:
        """Retrieval vectors of both parts, each divided by its spread, float32 ``[items, user_dim + 1]``."""
        linear, rest = self._spreads.numpy()
        return np.concatenate([self._elsa.retrieval[:, :-1] / linear, self._vae.retrieval / rest], axis=1)


def _parts(config: InteractionConfig) -> tuple[InteractionConfig, InteractionConfig]:
    """Return the architectures of ELSA and of the Mult-VAE.

    Raises:
        ValueError: there is no room for both.
    """
    linear = (config.user_dim + 1) // 2
    if config.user_dim < 2 or config.hidden <= linear:
        raise ValueError(f"a hybrid needs a code of 2 or more and a hidden layer wider than {linear}")
    return (
        InteractionConfig("elsa", linear, linear),
        InteractionConfig("multvae", config.hidden - linear, config.user_dim - linear),
    )


def _joined(config: InteractionConfig, vae: Any) -> Any:
    linear, _ = _parts(config)
    bag = keras.Input((config.hidden,), name="bag")
    left = _Columns(0, linear.hidden, name="linear")(bag)
    right = _Columns(linear.hidden, config.hidden, name="rest")(bag)
    return keras.Model(bag, keras.layers.Concatenate(name="code")([left, vae(right)]), name=ENCODER_NAME)


class _Columns(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """The columns from ``start`` to ``stop``; unlike a slice it can have a name."""

    def __init__(self, start: int, stop: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._start, self._stop = start, stop

    def call(self, inputs: Any) -> Any:
        return inputs[:, self._start : self._stop]
