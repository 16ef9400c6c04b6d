"""The convolutional network: images of any size and number of channels."""

from __future__ import annotations

from typing import Any

from models.autoencoders.config import AutoencoderConfig
from models.autoencoders.layers import Layers
from models.runtime import keras


def encode(config: AutoencoderConfig, features: Any, layers: Layers) -> Any:
    """Return the last stage, flat, of features ``[batch, input_dim]``. Each stage halves height and width."""
    hidden = keras.layers.Reshape(config.image_shape)(features)
    for filters in config.hidden:
        hidden = layers.convolution(filters, stride=2)(hidden)
    return keras.layers.Flatten()(hidden)


def decode(config: AutoencoderConfig, latent: Any, layers: Layers) -> Any:
    """Return the output ``[batch, input_dim]`` of latents ``[batch, latent_dim]``."""
    height, width, channels = config.image_shape
    # Stage n of the encoder has half of stage n - 1, rounded up; the decoder goes back the same way.
    sizes = [(height, width)]
    for _ in config.hidden:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    (top, left), filters = sizes[-1], config.hidden[-1] if config.hidden else channels
    hidden = layers.dense(top * left * filters, "gelu")(latent)
    hidden = keras.layers.Reshape((top, left, filters))(hidden)
    for (rows, columns), filters in zip(sizes[-2::-1], config.hidden[::-1], strict=True):
        hidden = layers.upscaling(filters)(hidden)
        hidden = hidden[:, :rows, :columns]
    return keras.layers.Flatten()(layers.convolution(channels, activation=None)(hidden))
