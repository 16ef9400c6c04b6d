"""From codes to a plane: the two directions in which the latents differ most (PCA)."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from models.arrays import Bytes, Floats
from models.codecs import Codec

# So many latents say well enough where those directions are.
_SAMPLE: Final = 50_000
_AT_A_TIME: Final = 65_536


class Plane(NamedTuple):
    """A plane in the latent space."""

    mean: Floats  # [latent_dim]
    axes: Floats  # [latent_dim, 2]


def principal_plane(codec: Codec, codes: Bytes, rng: np.random.Generator) -> Plane:
    """Return the plane of what ``codes`` uint8 ``[n, code_bytes]`` decode to, by a sample of them."""
    if not len(codes):
        return Plane(np.zeros(1, np.float32), np.zeros((1, 2), np.float32))
    sample = codes if len(codes) <= _SAMPLE else codes[rng.choice(len(codes), _SAMPLE, replace=False)]
    latents = codec.decode(sample).astype(np.float64)
    mean = latents.mean(axis=0)
    away = latents - mean
    _, vectors = np.linalg.eigh(away.T @ away)
    axes = vectors[:, ::-1][:, :2]
    # An axis has no direction of its own. With one chosen, a map of the same codes is the same.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    if axes.shape[1] < 2:
        axes = np.hstack([axes, np.zeros((len(axes), 1))])
    return Plane(mean.astype(np.float32), axes.astype(np.float32))


def projected(codec: Codec, codes: Bytes, plane: Plane) -> Floats:
    """Return where codes lie in the plane, float32 ``[n, 2]``."""
    places = np.empty((len(codes), 2), np.float32)
    for start in range(0, len(codes), _AT_A_TIME):
        part = slice(start, start + _AT_A_TIME)
        places[part] = (codec.decode(codes[part]) - plane.mean) @ plane.axes
    return places
