"""Mult-VAE: a variational autoencoder with the multinomial likelihood (Liang et al. 2018, arXiv:1802.05814).

u = A tanh(bag) + a         (the mean; sampling only in training)
"""

from __future__ import annotations

from typing import Any, Final

from models.interaction.base import ENCODER_NAME, Batch, bags, dense, dropped_out, negative_log_likelihood
from models.interaction.config import InteractionConfig
from models.interaction.multinomial import MultinomialAutoencoder
from models.runtime import keras, tf

_KL_WEIGHT: Final = 0.03
# The KL weight grows over this share of the steps (Liang et al. 2018, section 2.2.2).
_WARM_UP: Final = 0.3
_DROPOUT: Final = 0.1
# Low, so that the first steps are not all noise.
_FIRST_LOG_VARIANCE: Final = -1.0


class MultVae(MultinomialAutoencoder):
    """The code is a normal distribution, drawn towards the standard one by an annealed KL term."""

    def __init__(self, config: InteractionConfig, items: int, seed: int) -> None:
        super().__init__(config, items, seed)
        self._log_variance = dense(config.user_dim, seed + 2, "log_variance", _FIRST_LOG_VARIANCE)
        self._log_variance.build((None, config.hidden))

    @staticmethod
    def build_user_encoder(config: InteractionConfig, seed: int) -> Any:
        """Return the Keras model from bags to the means of the codes."""
        bag = keras.Input((config.hidden,), name="bag")
        return keras.Model(
            bag,
            dense(config.user_dim, seed, "mean")(keras.layers.Activation("tanh", name="tanh")(bag)),
            name=ENCODER_NAME,
        )

    @property
    def trainable(self) -> list[Any]:
        """All variables that training changes."""
        return [*super().trainable, *self._log_variance.trainable_variables]

    def loss(self, batch: Batch, seed: Any, progress: Any, group: int) -> Any:  # noqa: ARG002
        """Return the negative evidence lower bound, its KL term weighted."""
        bag = bags(self._embeddings, batch, dropped_out(batch, _DROPOUT, seed))
        mean, log_variance = self.user_encoder(bag), self._log_variance(tf.tanh(bag))
        noise = tf.random.stateless_normal(tf.shape(mean), seed + tf.constant([1, 0]))
        codes = mean + tf.exp(0.5 * log_variance) * noise
        kl = 0.5 * tf.reduce_sum(tf.square(mean) + tf.exp(log_variance) - 1 - log_variance, axis=1)
        kl_weight = _KL_WEIGHT * tf.minimum(1.0, progress / _WARM_UP)
        likelihood = negative_log_likelihood(codes, self.decode, batch)
        return likelihood + kl_weight * tf.reduce_mean(kl)
