"""RecVAE (Shenbin et al. 2020, arXiv:1912.11160): a Mult-VAE with three changes.

The prior is a mixture of the standard normal, a wide one and the posterior of the last round of training; the
KL term is weighted by the length of the input; encoder and decoder are trained in turns, the decoder without
noise on its inputs. The encoder is a deep network whose layers all see all layers before them.
"""

from __future__ import annotations

import math
from typing import Any, Final

from models.interaction.base import ENCODER_NAME, Batch, bags, dense, dropped_out, negative_log_likelihood
from models.interaction.config import InteractionConfig
from models.interaction.multinomial import MultinomialAutoencoder
from models.runtime import keras, tf

_LAYERS: Final = 4
_DROPOUT: Final = 0.5
# Weight of the KL term for each unit of a history's squared weight: the paper's gamma.
_GAMMA: Final = 0.005
# Shares of the mixture: standard normal, old posterior, wide normal; and the wide one's log-variance.
_SHARES: Final = (3 / 20, 3 / 4, 1 / 10)
_WIDE_LOG_VARIANCE: Final = 10.0
# Epochs of the encoder for each one of the decoder.
_ENCODER_EPOCHS: Final = 3
_EPSILON: Final = 1e-3


class RecVae(MultinomialAutoencoder):
    """The encoder has weights, an output of mean and log-variance, and a copy of the last round's."""

    def __init__(self, config: InteractionConfig, items: int, seed: int) -> None:
        super().__init__(config, items, seed)
        self._posterior = _build_posterior(config, seed)
        # The user encoder shares its layers, and gives the mean alone.
        self.user_encoder = keras.Model(self._posterior.input, self._posterior.output[0], name=ENCODER_NAME)
        self._old_posterior = _build_posterior(config, seed)
        self._old_embeddings = tf.Variable(self._embeddings, trainable=False)

    @staticmethod
    def build_user_encoder(config: InteractionConfig, seed: int) -> Any:
        """Return the Keras model from bags to the means of the codes."""
        posterior = _build_posterior(config, seed)
        return keras.Model(posterior.input, posterior.output[0], name=ENCODER_NAME)

    @property
    def trainable(self) -> list[Any]:
        """All variables that training changes."""
        return [variable for group in self.groups for variable in group]

    @property
    def moving(self) -> list[Any]:
        """The encoder of the last round."""
        return [self._old_embeddings, *self._old_posterior.variables]

    @property
    def groups(self) -> list[list[Any]]:
        """The encoder's variables, and the decoder's."""
        return [[self._embeddings, *self._posterior.trainable_variables], self.decoder]

    def begin_epoch(self, epoch: int) -> int:
        """Begin each round with a copy of the posterior; its last epoch trains the decoder."""
        place = epoch % (_ENCODER_EPOCHS + 1)
        if place == 0:
            self._old_posterior.set_weights(self._posterior.get_weights())
            self._old_embeddings.assign(self._embeddings)
        return int(place == _ENCODER_EPOCHS)

    def loss(self, batch: Batch, seed: Any, progress: Any, group: int) -> Any:  # noqa: ARG002
        """Return the negative evidence lower bound under the mixture prior, its KL term from one sample."""
        kept = None if group else dropped_out(batch, _DROPOUT, seed)
        mean, log_variance = self._posterior(bags(self._embeddings, batch, kept))
        noise = tf.random.stateless_normal(tf.shape(mean), seed + tf.constant([1, 0]))
        codes = mean + tf.exp(0.5 * log_variance) * noise
        likelihood = negative_log_likelihood(codes, self.decode, batch)
        if group:
            return likelihood
        old_mean, old_log_variance = self._old_posterior(bags(self._old_embeddings, batch))
        components = [
            _log_density(codes, 0.0, 0.0),
            _log_density(codes, old_mean, old_log_variance),
            _log_density(codes, 0.0, _WIDE_LOG_VARIANCE),
        ]
        shares = [math.log(share) for share in _SHARES]
        prior = tf.reduce_logsumexp([share + each for share, each in zip(shares, components, strict=True)], axis=0)
        kl = tf.reduce_sum(_log_density(codes, mean, log_variance) - prior, axis=1)
        # As heavy, against the likelihood, as the paper's: there both follow the length of the history.
        weight = tf.math.unsorted_segment_sum(batch.target_weights, batch.target_users, batch.users)
        return likelihood + _GAMMA * tf.reduce_mean(weight * kl)


def _build_posterior(config: InteractionConfig, seed: int) -> Any:
    """Return the Keras model from bags to mean and log-variance."""
    bag = keras.Input((config.hidden,), name="bag")
    outputs = [_activated(bag, "0")]
    for number in range(_LAYERS):
        hidden = dense(config.hidden, seed + 10 + number, f"hidden_{number}")(outputs[-1])
        total = keras.layers.Add(name=f"sum_{number}")([hidden, *outputs])
        outputs.append(_activated(total, str(number + 1)))
    mean = dense(config.user_dim, seed, "mean")(outputs[-1])
    return keras.Model(bag, [mean, dense(config.user_dim, seed + 2, "log_variance")(outputs[-1])])


def _activated(inputs: Any, number: str) -> Any:
    normal = keras.layers.LayerNormalization(epsilon=_EPSILON, name=f"norm_{number}")(inputs)
    return keras.layers.Activation("swish", name=f"swish_{number}")(normal)


def _log_density(codes: Any, mean: Any, log_variance: Any) -> Any:
    """Return the logarithm of a normal density in each dimension."""
    return -0.5 * (log_variance + math.log(2 * math.pi) + tf.square(codes - mean) / tf.exp(log_variance))
