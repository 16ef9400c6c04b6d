"""New latents: samples of what the items' latents look like, around one of them, and on the way between two."""

from __future__ import annotations

from typing import Final

import faiss
import numpy as np

from models.arrays import Doubles, Floats, Ints

_COMPONENTS: Final = 100
# A covariance in d dimensions needs more rows than d.
_ROWS_PER_DIMENSION: Final = 10
_LEAST_VARIANCE: Final = 1e-9


class LatentDensity:
    """A mixture of normal distributions with full covariances, fitted on latents float32 ``[n, latent_dim]``.

    The latents of a variational autoencoder are near its prior, not equal to it; sampling what they really are
    gives better samples (Ghosh et al. 2020, "From variational to deterministic autoencoders", section 4, which uses
    such a mixture too). Latents belong to the component that k-means finds.
    """

    def __init__(self, latents: Floats, components: int = _COMPONENTS) -> None:
        count, width = latents.shape
        components = max(1, min(components, count // (_ROWS_PER_DIMENSION * width)))
        clusters = faiss.Kmeans(width, components, niter=20, seed=1, min_points_per_centroid=1)
        clusters.train(np.ascontiguousarray(latents))
        chosen = clusters.assign(np.ascontiguousarray(latents))[1]
        wide = latents.astype(np.float64)
        parts = [part for component in range(components) if len(part := wide[chosen == component])]
        self._shares: Doubles = np.array([len(part) for part in parts]) / count
        self._means: list[Doubles] = [part.mean(axis=0) for part in parts]
        self._roots = [_covariance_root(part) for part in parts]
        self._root = _covariance_root(wide)

    def sample(self, count: int, seed: int) -> Floats:
        """Return latents, float32 ``[count, latent_dim]``."""
        draws = np.random.default_rng(seed)
        normal = draws.standard_normal((count, len(self._root)))
        chosen = draws.choice(len(self._shares), size=count, p=self._shares)
        samples = np.empty((count, len(self._root)), np.float32)
        for component, (mean, root) in enumerate(zip(self._means, self._roots, strict=True)):
            rows = chosen == component
            samples[rows] = mean + normal[rows] @ root.T
        return samples

    def around(self, latent: Floats, spread: float, count: int, seed: int) -> Floats:
        """Return latents ``[count, latent_dim]`` around one ``[latent_dim]``; ``spread`` 1 is that of all items."""
        normal = np.random.default_rng(seed).standard_normal((count, len(self._root)))
        return np.asarray(latent + spread * (normal @ self._root.T), np.float32)


def _covariance_root(rows: Doubles) -> Doubles:
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(rows.T, bias=True)))
    root: Doubles = vectors * np.sqrt(np.maximum(values, _LEAST_VARIANCE))
    return root


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
