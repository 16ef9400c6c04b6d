"""Exact search among a given part of the rows, on the host: for filters that few rows match, or unlikely ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from models.arrays import Doubles, Floats, Ints

# Rows that are copied and multiplied at a time, and float32 scores that are held at a time (64 MiB).
_BLOCK: Final = 1 << 16
_SCORES: Final = 1 << 24
# Products below the smallest normal float32 may be lost, whatever the lengths are.
_SMALLEST: Final = 2.0**-125

VectorsAt = Callable[[Ints], Floats]


def exact_scores(queries: Floats, rows: Ints, vectors_at: VectorsAt) -> Floats:
    """Return the inner product of each of ``rows`` with the query, summed in float64 and in a fixed order, ``[n]``.

    ``queries`` is one for all, ``[dim]``, or one for each, ``[n, dim]``.
    """
    scores = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _BLOCK):
        own = queries if queries.ndim == 1 else queries[start : start + _BLOCK]
        # float32 x float32 is exact in float64, and each row is summed by itself.
        products = np.multiply(vectors_at(rows[start : start + _BLOCK]), own, dtype=np.float64)
        scores[start : start + _BLOCK] = np.add.reduce(products, axis=1)
    return scores


def best_places(queries: Floats, rows: Ints, vectors_at: VectorsAt, keep: int, bounds: Doubles) -> Iterator[Ints]:
    """Yield for each query the places in ``rows`` of all that may be among its ``keep`` best, or tie with them.

    ``bounds[i]`` is how far a float32 score of query i may be from the true one. Takes memory for some 64 MiB of
    scores, or one query's.
    """
    if len(rows) <= keep:
        yield from [np.arange(len(rows))] * len(queries)
        return
    together = max(_SCORES // len(rows), 1)
    for first in range(0, len(queries), together):
        some = queries[first : first + together]
        scores = np.empty((len(some), len(rows)), np.float32)
        for start in range(0, len(rows), _BLOCK):
            np.matmul(some, vectors_at(rows[start : start + _BLOCK]).T, out=scores[:, start : start + _BLOCK])
        for own, bound in zip(scores, bounds[first : first + together], strict=True):
            worst = np.partition(own, len(own) - keep)[len(own) - keep]
            # Twice the bound tells two true scores apart; the third covers that these are rounded to float32.
            yield np.flatnonzero(own >= float(worst) - 3 * bound - queries.shape[1] * _SMALLEST)
