"""What a model has to beat: popularity, and the closed-form linear autoencoder EASE.

Both have the interface of the model: ``recommend(histories, k)`` returns ``(ids, scores)``, best first,
without the items of the history.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, Self

import numpy as np
from scipy import linalg

from models.arrays import Doubles, Floats, Ints
from models.histories import Histories

_USERS_AT_A_TIME: Final = 512
_LARGE: Final = 10_000
# Rows that are inverted at once.
_BLOCK: Final = 2048


class Recommender(Protocol):
    """Anything that ranks items for histories."""

    def recommend(self, histories: Histories, k: int) -> tuple[Ints, Floats]:
        """Return item indices and scores, ``[users, k]``; short rows end in -1 with -inf."""
        ...


class Popularity:
    """Everybody gets the items that most users have."""

    def __init__(self, scores: Doubles) -> None:
        self._scores = scores

    @classmethod
    def fit(cls, histories: Histories, items: int) -> Self:
        """Count the users of each of ``items`` items."""
        return cls(np.bincount(histories.items, minlength=items).astype(np.float64))

    def recommend(self, histories: Histories, k: int) -> tuple[Ints, Floats]:
        """Return item indices and counts, ``[users, k]``."""
        return in_blocks(lambda some: np.tile(self._scores, (len(some), 1)), histories, k)


class Ease:
    """Steck 2019, Embarrassingly Shallow Autoencoders for Sparse Data (arXiv:1905.03375).

    ``weights`` ``[items, items]`` minimise ``|X - X B|^2 + ridge |B|^2`` with a zero diagonal; the scores
    of a history x are ``x B``.
    """

    def __init__(self, weights: Floats | Doubles) -> None:
        self._weights = weights

    @classmethod
    def fit(cls, histories: Histories, items: int, ridge: float) -> Self:
        """Solve for the weights.

        It needs memory for one matrix of ``items`` squared: float64, or float32 from 10,000 items on.

        Raises:
            ValueError: ``ridge`` is not positive, which would make the problem singular, or too small.
            MemoryError: there is not enough.
        """
        if ridge <= 0:
            raise ValueError(f"ridge must be positive, not {ridge}")
        matrix = histories.sparse(items).astype(np.float64)
        gram = (matrix.T @ matrix).astype(_precision(items)).toarray()
        gram[np.diag_indices(items)] += ridge
        weights = gram
        _invert(weights)
        diagonal = weights.diagonal().copy()
        weights /= -diagonal
        np.fill_diagonal(weights, 0)
        return cls(weights)

    def recommend(self, histories: Histories, k: int) -> tuple[Ints, Floats]:
        """Return item indices and scores, ``[users, k]``."""
        items = len(self._weights)
        return in_blocks(lambda some: (some.sparse(items) @ self._weights).astype(np.float64), histories, k)


def in_blocks(score: Callable[[Histories], Doubles], histories: Histories, k: int) -> tuple[Ints, Floats]:
    """Return :func:`top_unseen` of the dense scores ``[users, items]`` of some histories at a time."""
    parts = [
        top_unseen(score(some), some, k)
        for start in range(0, len(histories), _USERS_AT_A_TIME)
        if len(some := histories.take(np.arange(start, min(start + _USERS_AT_A_TIME, len(histories)))))
    ]
    return np.concatenate([ids for ids, _ in parts]), np.concatenate([scores for _, scores in parts])


def _invert(matrix: Floats | Doubles) -> None:
    """Invert a symmetric positive definite matrix in place, by halves (Schur complement).

    LAPACK's routines, as OpenBLAS 0.3 has them, crash from about 40,000 rows on; products of halves do not.

    Raises:
        ValueError: a block is singular in this precision.
    """
    half = len(matrix) // 2
    if len(matrix) <= _BLOCK:
        try:
            matrix[:] = linalg.inv(matrix.astype(np.float64))
        except linalg.LinAlgError as error:
            raise ValueError(f"the problem is singular in {matrix.dtype}: choose a larger ridge") from error
        return
    upper, lower, cross = matrix[:half, :half], matrix[half:, half:], matrix[half:, :half]
    _invert(upper)
    product = cross @ upper
    lower -= product @ cross.T
    _invert(lower)
    np.matmul(lower, product, out=cross)
    upper += product.T @ cross
    np.negative(cross, out=cross)
    matrix[:half, half:] = cross.T


def _precision(items: int) -> type[np.floating]:
    return np.float64 if items < _LARGE else np.float32


def top_unseen(scores: Doubles, histories: Histories, k: int) -> tuple[Ints, Floats]:
    """Return the ``k`` best items of dense scores ``[users, items]`` that are not in the history.

    Equal scores are ordered by item. ``scores`` is changed.
    """
    scores[histories.users, histories.items] = -np.inf
    best = _largest(scores, min(k, scores.shape[1]))
    values = np.take_along_axis(scores, best, axis=1).astype(np.float32)
    best = np.where(np.isneginf(values), -1, best)
    missing = ((0, 0), (0, k - best.shape[1]))
    return np.pad(best, missing, constant_values=-1), np.pad(values, missing, constant_values=-np.inf)


def _largest(scores: Doubles, k: int) -> Ints:
    """Return the columns of the ``k`` largest scores of each row, largest first, equal ones by column."""
    negative: Doubles = np.negative(scores)
    chosen: Ints = np.argpartition(negative, k - 1, axis=1)[:, :k]
    chosen.sort(axis=1)
    values = np.take_along_axis(scores, chosen, axis=1)
    smallest = values.min(axis=1, keepdims=True)
    # Where more than one column has the smallest score that counts, chance has chosen among them.
    for row in np.flatnonzero((scores >= smallest).sum(axis=1) > k):
        chosen[row] = np.sort(np.argsort(negative[row], kind="stable")[:k])
        values[row] = scores[row, chosen[row]]
    return np.take_along_axis(chosen, np.argsort(-values, axis=1, kind="stable"), axis=1)
