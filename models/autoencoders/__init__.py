"""The autoencoder family. Each kind is a file; :func:`build_autoencoder` makes one from its configuration."""

from __future__ import annotations

from typing import Final

from models.autoencoders.config import AutoencoderConfig, Kind
from models.autoencoders.denoising import Denoising
from models.autoencoders.overcomplete import Overcomplete
from models.autoencoders.sparse import Sparse
from models.autoencoders.vanilla import Autoencoder
from models.autoencoders.variational import Variational

__all__ = ["KINDS", "Autoencoder", "AutoencoderConfig", "build_autoencoder"]

KINDS: Final[dict[Kind, type[Autoencoder]]] = {
    "vanilla": Autoencoder,
    "overcomplete": Overcomplete,
    "sparse": Sparse,
    "denoising": Denoising,
    "variational": Variational,
}


def build_autoencoder(config: AutoencoderConfig, seed: int = 0) -> Autoencoder:
    """Return an autoencoder with fresh weights.

    Raises:
        ValueError: a convolutional network for items that are not images.
    """
    return KINDS[config.kind](config, seed)
