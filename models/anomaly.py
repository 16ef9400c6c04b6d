"""How unlike the training items an item is: by its reconstruction error and by its distance to their latents.

The autoencoder gives back badly what it has not learnt, and what it has not learnt lies away from everything in
its latent space; either may show alone, so the larger of the two counts. The distance is weighed by how dense it
is around (Breunig et al. 2000, "LOF"), because a usual item of a rare sort is no anomaly.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import numpy as np

from models.arrays import Doubles, Floats
from models.files import load_arrays, save_arrays
from models.runtime import FixedBatch, tf

REFERENCES: Final = 4096
_FILE: Final = "content_anomaly.npz"
# Distances that are averaged: of an item, and of a reference for the density at it.
_NEAREST: Final = 3
_DENSITY_NEAREST: Final = 5
# References whose density an item's distance is compared with.
_AROUND: Final = 10
# More are looked for: their order is only right once the distances are exact.
_CANDIDATES: Final = 16
# Values that are looked at together.
_GROUP: Final = 32
# How far the density around counts: 0 is the plain distance, 1 the ratio of LOF.
_LOCALITY: Final = 0.5
# In units of the median distance: copies of an item must not make all others look far.
_DISTANCE_FLOOR: Final = 0.05
# In the networks' units, in which features have about variance 1: for data in which most items are copies.
_FLOOR: Final = 1e-6
_LARGEST_LOGARITHM: Final = 80.0


class Calibration(msgspec.Struct, frozen=True):
    """Medians and spreads of both logarithms over validation items, and the limit that keeps the rate."""

    distance_median: float
    distance_spread: float
    error_median: float
    error_spread: float
    limit: float


class Detector:
    """Scores items; a score above 1 is an anomaly. Rows are computed independently of each other, bit for bit.

    Args:
        references: latents of training items, float32 ``[r, latent_dim]``.
        densities: log of the mean distance of each to its nearest, float32 ``[r]``.
        floor: added to distances.
        calibration: see there.
    """

    def __init__(self, references: Floats, densities: Floats, floor: float, calibration: Calibration) -> None:
        self.calibration = calibration
        self._references = references
        self._densities = densities
        self._floor = floor
        half_squares = (np.sum(references.astype(np.float64) ** 2, axis=1) / 2).astype(np.float32)
        candidates, around = (min(wanted, len(references)) for wanted in (_CANDIDATES, _AROUND))

        def distance(latents: Any) -> Any:
            # The nearest have the largest z·r - |r|²/2.
            near = _largest(tf.matmul(latents, references, transpose_b=True) - half_squares, candidates)
            # The difference of two large squares is not exact enough.
            distances = tf.norm(tf.gather(references, near) - latents[:, None], axis=2)
            best = tf.math.top_k(-distances, around)
            near_densities = tf.gather(densities, tf.gather(near, best.indices, batch_dims=1))
            mean = tf.reduce_mean(-best.values[:, :_NEAREST], axis=1)
            return (tf.math.log(mean + floor) - _LOCALITY * tf.reduce_mean(near_densities, axis=1))[:, None]

        self._distance = FixedBatch(distance, references.shape[1])

    @classmethod
    def fit(
        cls, training: Floats, validation: Floats, validation_errors: Floats, *, false_alarm_rate: float, seed: int
    ) -> Self:
        """Return the detector of latents ``[n, latent_dim]``, calibrated on validation items.

        ``validation`` has their latents ``[v, latent_dim]``, ``validation_errors`` their errors ``[v]``, see
        :meth:`score`. With fewer than 1 / rate validation items the largest of their scores is the limit.
        """
        chosen = np.random.default_rng(seed).permutation(len(training))[:REFERENCES]
        references = np.ascontiguousarray(training[np.sort(chosen)])
        mean = _mean_distances(references)
        floor = float(_DISTANCE_FLOOR * np.median(mean) + _FLOOR)
        detector = cls(references, np.log(mean + floor).astype(np.float32), floor, Calibration(0, 1, 0, 1, 0))
        distances, errors = detector._logarithms(validation, validation_errors)
        detector.calibration = Calibration(*_location(distances), *_location(errors), limit=0.0)
        scores = np.sort(detector._combined(distances, errors))
        rank = min(math.ceil((len(scores) + 1) * (1 - false_alarm_rate)), len(scores))
        detector.calibration = msgspec.structs.replace(detector.calibration, limit=float(scores[rank - 1]))
        return detector

    def score(self, latents: Floats, errors: Floats) -> Floats:
        """Return scores float32 ``[n]`` of latents ``[n, latent_dim]`` and reconstruction errors ``[n]``.

        The errors are mean squares in the networks' units, so that each feature counts.
        """
        return np.exp(np.minimum(self._combined(*self._logarithms(latents, errors)), _LARGEST_LOGARITHM)).astype(
            np.float32
        )

    def save(self, directory: Path) -> None:
        """Write the detector's file into ``directory``."""
        calibration = np.array(msgspec.structs.astuple(self.calibration))
        floor = np.array([self._floor])
        arrays = {"references": self._references, "densities": self._densities}
        save_arrays(directory / _FILE, {**arrays, "floor": floor, "calibration": calibration})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the detector that :meth:`save` wrote."""
        arrays = load_arrays(directory / _FILE)
        calibration = Calibration(*map(float, arrays["calibration"]))
        return cls(arrays["references"], arrays["densities"], float(arrays["floor"][0]), calibration)

    def _logarithms(self, latents: Floats, errors: Floats) -> tuple[Doubles, Doubles]:
        with np.errstate(over="ignore"):
            return (
                self._distance(latents)[:, 0].astype(np.float64),
                np.log(np.minimum(errors.astype(np.float64), np.finfo(np.float32).max) + _FLOOR),
            )

    def _combined(self, distances: Doubles, errors: Doubles) -> Doubles:
        own = self.calibration
        return (
            np.maximum(
                (distances - own.distance_median) / own.distance_spread, (errors - own.error_median) / own.error_spread
            )
            - own.limit
        )


def _largest(values: Any, count: int) -> Any:
    """Return the places of the ``count`` largest of each row, int32 ``[batch, count]``, of float32 ``[batch, n]``.

    The largest lie in as many groups at most, and those are the groups with the largest maxima. To find these first
    takes a quarter of the time of a search among all.
    """
    places = values.shape[1]
    if places % _GROUP or places < 4 * _GROUP * count:
        return tf.math.top_k(values, count).indices
    grouped = tf.reshape(values, (-1, places // _GROUP, _GROUP))
    groups = tf.math.top_k(tf.reduce_max(grouped, axis=2), count).indices
    best = tf.math.top_k(tf.reshape(tf.gather(grouped, groups, batch_dims=1), (-1, count * _GROUP)), count).indices
    return tf.gather(groups, best // _GROUP, batch_dims=1) * _GROUP + best % _GROUP


def _mean_distances(references: Floats) -> Doubles:
    """Return the mean distance of each to its nearest others, ``[r]``."""
    wide = references.astype(np.float64)
    squares = np.sum(wide**2, axis=1)
    nearest = min(_DENSITY_NEAREST + 1, len(wide))
    found: Doubles = np.empty(len(wide))
    for start in range(0, len(wide), 256):
        part = slice(start, start + 256)
        gaps = np.maximum(squares[part, None] - 2 * wide[part] @ wide.T + squares, 0)
        # The nearest is the item itself.
        found[part] = np.sqrt(np.sort(np.partition(gaps, nearest - 1, axis=1)[:, :nearest], axis=1)[:, 1:]).mean(axis=1)
    return found


def _location(values: Doubles) -> tuple[float, float]:
    low, middle, high = np.percentile(values, [16, 50, 84])
    return float(middle), float(max((high - low) / 2, 1e-3))
