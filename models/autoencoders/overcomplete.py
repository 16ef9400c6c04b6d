"""The overcomplete autoencoder: a latent that may be wider than the input.

Left alone it would copy. The contractive penalty is the squared Frobenius norm of the encoder's Jacobian
(Rifai et al. 2011, "Contractive auto-encoders"): only directions in which the data varies are worth their
price. A sparse penalty serves the same end, see :mod:`models.autoencoders.sparse`.
"""

from __future__ import annotations

from typing import Any

from models.autoencoders.sparse import Sparse
from models.runtime import tf


class Overcomplete(Sparse):
    """Contractive, or sparse where ``config.penalty`` says so."""

    def latent(self, rows: Any, seed: Any, progress: Any) -> tuple[Any, Any]:
        """Return the latent and its penalty."""
        if self.config.penalty != "contractive":
            return super().latent(rows, seed, progress)
        with tf.GradientTape() as tape:
            tape.watch(rows)
            latent = self.encoder(rows)
            probe = tf.random.stateless_normal(tf.shape(latent), seed)
            projected = tf.reduce_sum(latent * probe)
        # E |J' v|² over normal v is the squared Frobenius norm of J (Hutchinson 1990).
        gradient = tape.gradient(projected, rows)
        return latent, self.config.penalty_weight * tf.reduce_sum(tf.square(gradient), axis=1)
