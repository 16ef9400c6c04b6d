"""The variational autoencoder: a latent with a known prior, from which new items can be drawn.

Kingma and Welling 2014, "Auto-encoding variational Bayes"; beta and its warm-up as in Higgins et al. 2017 and
Sønderby et al. 2016.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.arrays import Floats
from models.autoencoders.layers import Layers
from models.autoencoders.vanilla import Autoencoder
from models.runtime import tf

# A unit whose posterior mean varies less says nothing about the item (Burda et al. 2016, section 5.1).
ACTIVE_VARIANCE: Final = 0.01
_LARGEST_LOG_VARIANCE: Final = 8.0


class Variational(Autoencoder):
    """Encodes a mean and a log variance; the mean is the latent once it is trained."""

    def heads(self, hidden: Any, layers: Layers) -> list[Any]:
        """Return mean and log variance, ``[batch, latent_dim]`` each."""
        return [layers.dense(self.config.latent_dim)(hidden), layers.dense(self.config.latent_dim)(hidden)]

    def latent(self, rows: Any, seed: Any, progress: Any) -> tuple[Any, Any]:
        """Return a sample by the reparameterisation ``mean + deviation * noise``, and the weighted KL."""
        mean, log_variance = self.posterior(rows)
        log_variance = tf.clip_by_value(log_variance, -_LARGEST_LOG_VARIANCE, _LARGEST_LOG_VARIANCE)
        noise = tf.random.stateless_normal(tf.shape(mean), seed)
        weight = self.config.beta * tf.minimum(1.0, progress / max(self.config.warm_up, 1e-6))
        penalty = weight * self._per_loss * kl_divergence(mean, log_variance)
        return mean + tf.exp(0.5 * log_variance) * noise, penalty

    @property
    def _per_loss(self) -> float:
        """Loss for one nat: squared error is the negative log likelihood of unit variance times 2 / D."""
        return {"squared": 2.0, "binary": 1.0, "cosine": 1.0, "multinomial": 1.0}[
            self.config.loss
        ] / self.config.input_dim

    def statistics(self, rows: Floats, latents: Floats) -> dict[str, float]:
        """Return ``active_units``, and the mean KL of an item in nats; both near 0 mean a collapsed posterior."""
        _, log_variance = self.posterior(rows, training=False)
        divergence = kl_divergence(latents, np.clip(log_variance, -_LARGEST_LOG_VARIANCE, _LARGEST_LOG_VARIANCE))
        return {
            "active_units": float(np.sum(np.var(latents.astype(np.float64), axis=0) > ACTIVE_VARIANCE)),
            "kl_nats": float(np.mean(divergence)),
        }


def kl_divergence(mean: Any, log_variance: Any) -> Any:
    """Return the KL divergence of each diagonal normal from the standard one, in nats, ``[batch]``.

    ``½ Σ (μ² + σ² - 1 - log σ²)``, appendix B of Kingma and Welling.
    """
    return 0.5 * tf.reduce_sum(tf.square(mean) + tf.exp(log_variance) - 1 - log_variance, axis=1)
