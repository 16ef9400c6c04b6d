"""The dense network: any depth and width, for vectors and small images."""

from __future__ import annotations

from typing import Any

from models.autoencoders.config import AutoencoderConfig
from models.autoencoders.layers import Layers


def encode(config: AutoencoderConfig, features: Any, layers: Layers) -> Any:
    """Return the last hidden layer, ``[batch, hidden[-1]]``, of features ``[batch, input_dim]``."""
    return _stack(config.hidden, features, layers)


def decode(config: AutoencoderConfig, latent: Any, layers: Layers) -> Any:
    """Return the output ``[batch, input_dim]`` of latents ``[batch, latent_dim]``."""
    return layers.dense(config.input_dim)(_stack(config.hidden[::-1], latent, layers))


def _stack(widths: tuple[int, ...], hidden: Any, layers: Layers) -> Any:
    """Apply a layer for each width; a width that repeats is a residual block, so that depth does no harm.

    The block is the pre-activation one (He et al. 2016, "Identity mappings in deep residual networks") and
    starts as the identity, so that the gradient reaches the first layer undiminished.
    """
    last = None
    for width in widths:
        if width == last:
            inner = layers.dense(width, "gelu")(layers.normalisation()(hidden))
            hidden = hidden + layers.dense(width)(inner)
        else:
            hidden = layers.dense(width, "gelu")(hidden)
        last = width
    return hidden
