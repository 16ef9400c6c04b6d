"""New latents: samples of what the items' latents look like, around one of them, and on the way between two."""

from __future__ import annotations

from typing import Final

import faiss
import numpy as np

from models.arrays import Doubles, Floats, Ints

_LEAST_VARIANCE: Final = 1e-9


class LatentDensity:
    """A normal distribution with full covariance, fitted on latents float32 ``[n, latent_dim]``.

    The latents of a variational autoencoder are near its prior, not equal to it; sampling what they really are
    gives better samples (Ghosh et al. 2020, "From variational to deterministic autoencoders", section 4).
    """

    def __init__(self, latents: Floats) -> None:
        wide = latents.astype(np.float64)
        self.mean: Doubles = wide.mean(axis=0)
        values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(wide.T, bias=True)))
        self._root: Doubles = vectors * np.sqrt(np.maximum(values, _LEAST_VARIANCE))

    def sample(self, count: int, seed: int) -> Floats:
        """Return latents, float32 ``[count, latent_dim]``."""
        return np.asarray(self.mean + self._noise(count, seed), np.float32)

    def around(self, latent: Floats, spread: float, count: int, seed: int) -> Floats:
        """Return latents ``[count, latent_dim]`` around one ``[latent_dim]``; ``spread`` 1 is that of all items."""
        return np.asarray(latent + spread * self._noise(count, seed), np.float32)

    def _noise(self, count: int, seed: int) -> Doubles:
        normal = np.random.default_rng(seed).standard_normal((count, len(self.mean)))
        noise: Doubles = normal @ self._root.T
        return noise


def interpolated(first: Floats, last: Floats, count: int) -> Floats:
    """Return ``count`` latents from ``first`` to ``last`` (``[latent_dim]`` each), both included.

    Along the great circle (White 2016, "Sampling generative networks"): the straight way leads past the origin,
    where in many dimensions there are no items.
    """
    shares = np.linspace(0, 1, count)[:, None]
    start, end = first.astype(np.float64), last.astype(np.float64)
    lengths = np.linalg.norm(start), np.linalg.norm(end)
    cosine = np.clip(start @ end / max(float(lengths[0] * lengths[1]), 1e-12), -1, 1)
    angle = float(np.arccos(cosine))
    if np.sin(angle) < 1e-4:  # One direction, or opposite ones, between which no circle is the great one.
        return np.asarray((1 - shares) * start + shares * end, np.float32)
    weights = np.sin((1 - shares) * angle) / np.sin(angle), np.sin(shares * angle) / np.sin(angle)
    return np.asarray(weights[0] * start + weights[1] * end, np.float32)


def nearest(latents: Floats, samples: Floats, count: int) -> tuple[Floats, Ints]:
    """Return squared distances and rows, each ``[n, count]``, of the latents nearest to each of n samples."""
    index = faiss.IndexFlatL2(latents.shape[1])
    index.add(np.ascontiguousarray(latents))
    distances, rows = index.search(np.ascontiguousarray(samples), min(count, len(latents)))
    return distances, rows.astype(np.int64)
