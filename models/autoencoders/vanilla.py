"""The vanilla autoencoder, and the interface of all kinds.

Encoder and decoder with a narrow latent between them, trained to give back the input (Hinton and
Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks").
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

from models.arrays import Floats
from models.autoencoders import convolutional, dense, residual
from models.autoencoders.config import AutoencoderConfig
from models.autoencoders.layers import Layers
from models.autoencoders.losses import reconstruction_loss, scaled_output
from models.files import load_weights, save_weights
from models.runtime import keras, tf

_NETWORKS: Final = {"dense": dense, "residual": residual, "convolutional": convolutional}
ENCODER_FILE: Final = "content_encoder.weights.h5"
DECODER_FILE: Final = "content_decoder.weights.h5"


class Losses(NamedTuple):
    """Of each item, ``[batch]``."""

    reconstruction: Any
    penalty: Any


class Autoencoder:
    """Vanilla. Other kinds override :meth:`latent`, :meth:`corrupt` or :meth:`statistics`.

    ``encoder`` maps float32 ``[batch, input_dim]`` in scaled units to latents ``[batch, latent_dim]`` and is
    deterministic; ``decoder`` maps those to raw output ``[batch, input_dim]``, see ``losses.scaled_output``.
    """

    # What the latent goes through; None leaves it as it is.
    latent_activation: str | None = None

    def __init__(self, config: AutoencoderConfig, seed: int = 0) -> None:
        self.config = config
        network = _NETWORKS[config.network]
        features = keras.Input((config.input_dim,), name="features")
        layers = Layers(2 * seed, "encoder")
        heads = self.heads(network.encode(config, features, layers), layers)
        self.encoder = keras.Model(features, heads[0], name="encoder")
        self.posterior = keras.Model(features, heads, name="posterior")
        latent = keras.Input((config.latent_dim,), name="latent")
        self.decoder = keras.Model(
            latent, network.decode(config, latent, Layers(2 * seed + 1, "decoder")), name="decoder"
        )

    def start(self, rows: Floats) -> None:
        """Give the weights the start that the network wants to take from scaled training rows."""
        if self.config.network == "residual" and self.config.loss == "squared":
            residual.start_as_pca(self.posterior, self.decoder, rows)

    def copy(self, other: Autoencoder) -> None:
        """Take over the weights of another of the same architecture."""
        self.posterior.set_weights(other.posterior.get_weights())
        self.decoder.set_weights(other.decoder.get_weights())

    def heads(self, hidden: Any, layers: Layers) -> list[Any]:
        """Return what the encoder ends in; the first is the latent."""
        return [layers.dense(self.config.latent_dim, self.latent_activation)(hidden)]

    @property
    def trainable(self) -> list[Any]:
        """All trainable variables, in a fixed order."""
        return [*self.posterior.trainable_variables, *self.decoder.trainable_variables]

    def losses(self, rows: Any, seed: Any, progress: Any) -> Losses:
        """Return what training minimises the sum of.

        Args:
            rows: ``[batch, input_dim]`` in scaled units.
            seed: int32 ``[2]``; all randomness of this step comes from it.
            progress: share of the training that is done, for what grows with it.
        """
        latent, penalty = self.latent(self.corrupt(rows, seed), seed, progress)
        return Losses(self.loss_of_latents(latent, rows), penalty)

    def corrupt(self, rows: Any, seed: Any) -> Any:  # noqa: ARG002
        """Return what the encoder sees of ``rows`` in training."""
        return rows

    def latent(self, rows: Any, seed: Any, progress: Any) -> tuple[Any, Any]:  # noqa: ARG002
        """Return the latent that training decodes, and the penalty on it."""
        return self.encoder(rows), tf.zeros(tf.shape(rows)[0])

    def reconstruct(self, latents: Any) -> Any:
        """Return the reconstruction in scaled units."""
        return scaled_output(self.config.loss, self.decoder(latents))

    def loss_of_latents(self, latents: Any, rows: Any) -> Any:
        """Return the reconstruction loss, ``[batch]``, of latents that should decode to scaled ``rows``."""
        return reconstruction_loss(self.config.loss, self.decoder(latents), rows)

    def statistics(self, rows: Floats, latents: Floats) -> dict[str, float]:  # noqa: ARG002
        """Return what this kind has to say of validation rows and their latents."""
        return {}

    def save(self, directory: Path) -> None:
        """Write the weights into ``directory``."""
        save_weights(directory / ENCODER_FILE, self.posterior)
        save_weights(directory / DECODER_FILE, self.decoder)

    def load(self, directory: Path) -> None:
        """Read the weights that :meth:`save` wrote."""
        load_weights(directory / ENCODER_FILE, self.posterior)
        load_weights(directory / DECODER_FILE, self.decoder)
