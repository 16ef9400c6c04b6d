"""The residual network: a linear map with residual blocks beside it, for the best compression.

It starts as PCA, the best linear autoencoder, and the blocks learn what is not linear. So no training is spent
on what an eigenvalue decomposition finds in a second.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.arrays import Doubles, Floats
from models.autoencoders.config import AutoencoderConfig
from models.autoencoders.layers import Layers
from models.runtime import keras

_BRANCH: Final = 0.03
_FIT_ROWS: Final = 50_000


def encode(config: AutoencoderConfig, features: Any, layers: Layers) -> Any:
    """Return ``[features, blocks(features)]`` of features ``[batch, input_dim]``; the head is linear in both."""
    return _beside(config.hidden, features, layers)


def decode(config: AutoencoderConfig, latent: Any, layers: Layers) -> Any:
    """Return the output ``[batch, input_dim]`` of latents ``[batch, latent_dim]``."""
    return layers.dense(config.input_dim)(_beside(config.hidden[::-1], latent, layers))


def _beside(widths: tuple[int, ...], inputs: Any, layers: Layers) -> Any:
    hidden, last = inputs, None
    for width in widths:
        if width != last:
            hidden = layers.dense(width)(hidden)
        # A block as in "Identity mappings in deep residual networks" (He et al. 2016).
        inner = layers.dense(width, "gelu")(layers.normalisation()(hidden))
        hidden = hidden + layers.dense(width)(inner)
        last = width
    if last is None:
        return inputs
    hidden = layers.activation("gelu")(layers.normalisation()(hidden))
    return keras.layers.Concatenate()([inputs, hidden])


def start_as_pca(encoder: Any, decoder: Any, rows: Floats) -> None:
    """Set the linear parts to the principal components of scaled ``rows`` ``[n, input_dim]``, whitened as a whole.

    The blocks' share of the outputs starts small, so that the network is almost PCA.
    """
    sample = rows[:: -(-len(rows) // _FIT_ROWS)].astype(np.float64)
    sample -= sample.mean(axis=0)
    _, vectors = np.linalg.eigh(sample.T @ sample / len(sample))
    latent_dim = decoder.input_shape[-1]
    components: Doubles = np.zeros((rows.shape[1], latent_dim))
    kept = min(latent_dim, rows.shape[1])
    components[:, :kept] = vectors[:, ::-1][:, :kept]
    # One scale for all, so that distances between latents are those between items.
    scale = float(np.sqrt(np.mean((sample @ components)[:, :kept] ** 2)) or 1.0)
    _set_linear(encoder.layers[-1], components / scale)
    _set_linear(decoder.layers[-1], components.T * scale)


def _set_linear(layer: Any, linear: Doubles) -> None:
    kernel, bias = layer.get_weights()
    kernel[len(linear) :] *= _BRANCH
    kernel[: len(linear)] = linear
    layer.set_weights([kernel, bias])
