"""The sparse autoencoder: few units of the latent speak for an item.

Penalties: *l1* on the activations; *kl*, the divergence between a small target activation and each unit's mean
over the batch (Ng 2011, CS294A lecture notes); *top_k*, which keeps the ``active`` largest units and no
penalty (Makhzani and Frey 2014, "k-sparse autoencoders").
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from models.arrays import Floats
from models.autoencoders.layers import Layers
from models.autoencoders.vanilla import Autoencoder
from models.runtime import keras, tf

TARGET_ACTIVATION: Final = 0.05
_NO_LOGARITHM_OF_ZERO: Final = 1e-6


@keras.saving.register_keras_serializable("latentstream")
class TopK(keras.layers.Layer):  # type: ignore[misc]
    """Keeps the ``active`` largest values of each row, and zero instead of the rest."""

    def __init__(self, active: int, **options: Any) -> None:
        super().__init__(**options)
        self.active = active

    def call(self, values: Any) -> Any:
        """Return float32 ``[batch, units]``."""
        least = tf.math.top_k(values, self.active).values[:, -1:]
        return tf.where(values >= least, values, 0.0)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        return {**super().get_config(), "active": self.active}


class Sparse(Autoencoder):
    """Non-negative latents, most of them near zero."""

    def heads(self, hidden: Any, layers: Layers) -> list[Any]:
        """Return the latent: sigmoid for a target activation, linear under contraction, else ReLU."""
        match self.config.penalty:
            case "kl":
                return [layers.dense(self.config.latent_dim, "sigmoid")(hidden)]
            case "contractive":
                return [layers.dense(self.config.latent_dim)(hidden)]
            case "top_k":
                active = min(self.config.active, self.config.latent_dim)
                return [TopK(active, name="top_k")(layers.dense(self.config.latent_dim, "softplus")(hidden))]
        return [layers.dense(self.config.latent_dim, "relu")(hidden)]

    def latent(self, rows: Any, seed: Any, progress: Any) -> tuple[Any, Any]:  # noqa: ARG002
        """Return the latent and its penalty, the same for each row with *kl*."""
        latent = self.encoder(rows)
        penalty = tf.zeros(tf.shape(rows)[0])
        if self.config.penalty == "l1":
            penalty = tf.reduce_mean(tf.abs(latent), axis=1)
        elif self.config.penalty == "kl":
            mean = tf.clip_by_value(tf.reduce_mean(latent, axis=0), _NO_LOGARITHM_OF_ZERO, 1 - _NO_LOGARITHM_OF_ZERO)
            target = TARGET_ACTIVATION
            divergence = target * tf.math.log(target / mean) + (1 - target) * tf.math.log((1 - target) / (1 - mean))
            penalty += tf.reduce_mean(divergence)
        return latent, self.config.penalty_weight * penalty

    def statistics(self, rows: Floats, latents: Floats) -> dict[str, float]:  # noqa: ARG002
        """Return ``sparsity`` in [0, 1] (Hoyer 2004): 0 if all units are alike, 1 if one speaks alone."""
        wide = np.abs(latents.astype(np.float64))
        first, second = wide.sum(axis=1), np.sqrt((wide**2).sum(axis=1))
        lit = second > 0
        root = math.sqrt(max(wide.shape[1], 2))
        hoyer = (root - first[lit] / second[lit]) / (root - 1)
        return {"sparsity": float(hoyer.mean()) if lit.any() else 1.0, "zero_share": float(np.mean(latents == 0))}
