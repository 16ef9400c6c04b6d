"""Mult-DAE: a denoising autoencoder with the multinomial likelihood (Liang et al. 2018, arXiv:1802.05814).

u = tanh(A tanh(bag) + a)
"""

from __future__ import annotations

from typing import Any, Final

from models.interaction.base import ENCODER_NAME, Batch, bags, dense, dropped_out, negative_log_likelihood
from models.interaction.config import InteractionConfig
from models.interaction.multinomial import MultinomialAutoencoder
from models.runtime import keras

_DROPOUT: Final = 0.5


class MultDae(MultinomialAutoencoder):
    """Inputs are dropped out in training; nothing else keeps it from copying them."""

    @staticmethod
    def build_user_encoder(config: InteractionConfig, seed: int) -> Any:
        """Return the Keras model from bags to user codes."""
        bag = keras.Input((config.hidden,), name="bag")
        hidden = keras.layers.Activation("tanh", name="tanh")(bag)
        code = keras.layers.Activation("tanh", name="out")(dense(config.user_dim, seed, "code")(hidden))
        return keras.Model(bag, code, name=ENCODER_NAME)

    def loss(self, batch: Batch, seed: Any, progress: Any, group: int) -> Any:  # noqa: ARG002
        """Return the negative log-likelihood of the targets."""
        codes = self.user_encoder(bags(self._embeddings, batch, dropped_out(batch, _DROPOUT, seed)))
        return negative_log_likelihood(codes, self.decode, batch)
