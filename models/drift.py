"""How far what comes in differs from what a model was trained on: the population stability index.

It is ``Σ (q - p) ln(q / p)`` over bins that had shares p then and have q now: the symmetric divergence of Kullback
and Leibler (1951, "On information and sufficiency"). Name and rule, that beyond .25 a model is due, are those of
credit scoring (Siddiqi 2006, "Credit risk scorecards"). Of equal distributions it is some (bins - 1) (1/m + 1/n) for m
observations then and n now (Yurdakul and Naranjo 2020, "Statistical properties of the population stability index").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.arrays import Doubles, Floats, Ints
from models.files import load_arrays, save_arrays

MOST_BINS: Final = 10
# So few, and so few for each bin but the first, keep chance alone below the rule's .25 for any of a latent's features.
FEWEST: Final = 100
_OBSERVATIONS: Final = 40
# Coordinates of the latent that are watched: those with the largest variance.
_COORDINATES: Final = 16
# Popularity is that of so many of the newest interactions: one that changes all the time differs from that of all times
# however often one trains.
_RECENT: Final = 20_000


def stability_index(expected: Doubles, counts: Doubles | Ints) -> Doubles:
    """Return the index of ``counts``, ``[…, bins]``, against the shares ``expected``, ``[…, bins]``, all above 0.

    One observation more, spread as is expected, keeps it finite where bins are empty, and 0 where nothing differs.
    """
    shares = (counts + expected) / (counts.sum(axis=-1, keepdims=True) + 1)
    indices: Doubles = np.sum((shares - expected) * np.log(shares / expected), axis=-1)
    return indices


def _shares(counts: Ints) -> Doubles:
    """Return the shares of ``counts``, ``[…, bins]``; one observation more, over all bins, leaves none without."""
    smoothed = counts + 1 / counts.shape[-1]
    shares: Doubles = smoothed / smoothed.sum(axis=-1, keepdims=True)
    return shares


def _bins(observations: int) -> int:
    """Return how many bins to divide so many observations into, 0 where they are too few to say anything."""
    return min(MOST_BINS, 1 + observations // _OBSERVATIONS) if observations >= FEWEST else 0


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins of equal shares for each of f features, as far as values that are alike allow it."""

    edges: Floats  # ascending, [f, bins - 1]
    expected: Doubles  # [f, bins]

    def __post_init__(self) -> None:
        features, bins = self.expected.shape
        if self.edges.shape != (features, bins - 1) or self.edges.dtype != np.float32:
            raise ValueError("the edges of the bins do not fit their shares")
        _require_shares(self.expected)

    @classmethod
    def fit(cls, values: Floats) -> Self | None:
        """Return bins for values ``[n, f]``, None where they are too few."""
        bins = _bins(len(values))
        if not bins:
            return None
        edges = np.sort(values, axis=0)[np.arange(1, bins) * len(values) // bins].T.astype(np.float32)
        return cls(edges, _shares(_counted(edges, values)))

    def count(self, values: Floats) -> Ints:
        """Return how many of values ``[n, f]`` are in each bin, ``[f, bins]``."""
        return _counted(self.edges, values)


def _counted(edges: Floats, values: Floats) -> Ints:
    features, bins = len(edges), edges.shape[1] + 1
    places = np.sum(values[:, :, None] >= edges, axis=2) + bins * np.arange(features)
    return np.bincount(places.ravel(), minlength=features * bins).reshape(features, bins)


@dataclass(frozen=True, slots=True)
class Latents:
    """Some coordinates of a latent, and its distance from the mean."""

    mean: Floats  # [latent_dim]
    coordinates: Ints  # [c]
    bins: Bins  # of c + 1 features

    def __post_init__(self) -> None:
        count = len(self.coordinates)
        typed = self.mean.dtype == np.float32 and self.coordinates.dtype == np.int64
        if not typed or self.mean.ndim != 1 or len(self.bins.expected) != count + 1:
            raise ValueError("the bins of the latent do not fit it")
        if count and not 0 <= self.coordinates.min() <= self.coordinates.max() < len(self.mean):
            raise ValueError("the bins of the latent are of coordinates that it does not have")

    @classmethod
    def fit(cls, latents: Floats) -> Self | None:
        """Return what to watch of latents like float32 ``[n, latent_dim]``, None where they are too few."""
        mean = latents.mean(axis=0)
        coordinates = np.sort(np.argsort(-latents.var(axis=0), kind="stable")[:_COORDINATES])
        bins = Bins.fit(_latent_features(latents, mean, coordinates))
        return None if bins is None else cls(mean, coordinates, bins)

    def count(self, latents: Floats) -> Ints:
        """Return how many of latents ``[n, latent_dim]`` are in each bin, ``[c + 1, bins]``."""
        return self.bins.count(_latent_features(latents, self.mean, self.coordinates))


def _latent_features(latents: Floats, mean: Floats, coordinates: Ints) -> Floats:
    distances = np.linalg.norm(latents - mean, axis=1, keepdims=True)
    return np.concatenate([latents[:, coordinates], distances], axis=1)


@dataclass(frozen=True, slots=True)
class Popularity:
    """Items by how popular they were, in bins of about equal shares of the interactions.

    Those that nobody touched are in the last bin, and new ones with them.
    """

    bin_of: NDArray[np.uint8]  # of each item of the vocabulary
    expected: Doubles  # [bins]

    def __post_init__(self) -> None:
        flat = self.bin_of.ndim == self.expected.ndim == 1 and self.bin_of.dtype == np.uint8
        if not flat or self.bin_of.max(initial=0) >= len(self.expected):
            raise ValueError("the bins of the popularity do not fit their shares")
        _require_shares(self.expected)

    @classmethod
    def fit(cls, items: Ints, timestamps: Doubles, vocabulary: int) -> Self | None:
        """Return the bins by interactions with ``items`` of a vocabulary, None where they are too few."""
        recent = items[np.argsort(timestamps, kind="stable")[-_RECENT:]]
        bins = _bins(len(recent))
        if not bins:
            return None
        counts = np.bincount(recent, minlength=vocabulary)
        order = np.argsort(-counts, kind="stable")
        before = np.cumsum(counts[order]) - counts[order]
        bin_of = np.empty(vocabulary, np.uint8)
        bin_of[order] = np.minimum(before * bins // len(recent), bins - 1)
        return cls(bin_of, _shares(np.bincount(bin_of[recent], minlength=bins)))

    def count(self, vocabulary: Mapping[str, int], item_ids: Sequence[str]) -> Ints:
        """Return how many of ``item_ids`` are in each bin, ``[bins]``; ``vocabulary`` has the row of each known one."""
        rows = np.fromiter(map(vocabulary.get, item_ids, repeat(-1)), np.int64, len(item_ids))
        last = len(self.expected) - 1
        return np.bincount(np.where(rows >= 0, self.bin_of[rows], last), minlength=last + 1)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a model was trained on; None where there was none of it, or too little."""

    items: int
    users: int
    errors: Bins | None = None  # mean squared errors of items that were not trained on
    latents: Latents | None = None
    popularity: Popularity | None = None

    def save(self, path: Path) -> None:
        """Write it."""
        arrays: dict[str, NDArray[Any]] = {"counted": np.array([self.items, self.users], np.int64)}
        if self.errors is not None:
            arrays |= {"error_edges": self.errors.edges, "error_shares": self.errors.expected}
        if self.latents is not None:
            arrays |= {"latent_mean": self.latents.mean, "latent_coordinates": self.latents.coordinates}
            arrays |= {"latent_edges": self.latents.bins.edges, "latent_shares": self.latents.bins.expected}
        if self.popularity is not None:
            arrays |= {"popularity_bins": self.popularity.bin_of, "popularity_shares": self.popularity.expected}
        save_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path, *, latent_dim: int, vocabulary: int) -> Self:
        """Return what :meth:`save` wrote, for a model with a latent of that width and so many items.

        Raises:
            ValueError: arrays do not fit together or the model.
            KeyError: one is missing.
        """
        arrays = load_arrays(path)
        items, users = map(int, arrays["counted"])
        errors = latents = popularity = None
        if "error_shares" in arrays:
            errors = Bins(arrays["error_edges"], arrays["error_shares"])
        if "latent_shares" in arrays:
            bins = Bins(arrays["latent_edges"], arrays["latent_shares"])
            latents = Latents(arrays["latent_mean"], arrays["latent_coordinates"], bins)
            if len(latents.mean) != latent_dim:
                raise ValueError(f"{path.name} is of a latent of another width")
        if "popularity_shares" in arrays:
            popularity = Popularity(arrays["popularity_bins"], arrays["popularity_shares"])
            if len(popularity.bin_of) != vocabulary:
                raise ValueError(f"{path.name} is of another number of items")
        return cls(items, users, errors, latents, popularity)


class Window:
    """What was observed lately: an observation counts half after ``half_life`` others, and so on.

    Args:
        expected: shares at the training, ``[…, bins]``.
        half_life: in observations.
    """

    def __init__(self, expected: Doubles, half_life: int) -> None:
        self._expected = expected
        self._half_life = half_life
        self._counts = np.zeros(expected.shape)
        self.observed = 0

    def add(self, counts: Ints) -> None:
        """Add observations, ``[…, bins]``: as many for each feature."""
        added = int(counts.sum(axis=-1).max())
        self._counts = self._counts * math.pow(0.5, added / self._half_life) + counts
        self.observed += added

    @property
    def index(self) -> float:
        """The stability index of the feature that differs most."""
        return float(stability_index(self._expected, self._counts).max())

    @property
    def risen(self) -> bool:
        """Whether a feature lies in higher bins than expected, on average."""
        bins = np.arange(self._expected.shape[-1])
        return bool((self._counts @ bins > self._counts.sum(axis=-1) * (self._expected @ bins)).any())


def _require_shares(expected: Doubles) -> None:
    if expected.dtype != np.float64 or not (expected > 0).all() or not np.allclose(expected.sum(axis=-1), 1):
        raise ValueError("the shares of the bins are not above 0, or their sum is not 1")
