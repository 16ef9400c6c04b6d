"""Our index with all that it does: how fast it is filled, and how long a query takes while it is rebuilt."""

from __future__ import annotations

import time
from typing import Final

import msgspec
import numpy as np

from models.arrays import Floats
from models.index import LatentIndex
from workers.bench.latency import percentile

_REPETITIONS: Final = 5
_BATCH: Final = 1_000
_K: Final = 10
_IDLE_QUERIES: Final = 2_000
# A little more than the share of the rows at which the index seals anew.
_REPLACED: Final = 0.051
_FEWEST_REPLACED: Final = 1_025


class Live(msgspec.Struct, frozen=True):
    """Figures of the index itself. Those of queries are medians of five rebuilds; spreads are least and greatest.

    ``chosen`` is how it searches, as it chose by itself; ``p99_ratio`` is p99 during a rebuild over that before it.
    """

    chosen: str
    upserts_per_s: float
    settled_s: float
    idle_p99_ms: float
    rebuild_p99_ms: float
    p99_ratio: float
    p99_ratio_spread: tuple[float, float]
    rebuild_s: float


def measure_live(vectors: Floats, queries: Floats) -> Live:
    """Fill an index with ``vectors``, then replace so many of them that it is rebuilt, five times."""
    index = LatentIndex(vectors.shape[1])
    began = time.perf_counter()
    for start in range(0, len(vectors), _BATCH):
        index.upsert(np.arange(start, min(start + _BATCH, len(vectors))), vectors[start : start + _BATCH])
    filled = time.perf_counter()
    index.wait_sealed()
    settled = time.perf_counter()
    rng = np.random.default_rng(0)
    idle, during, took = [], [], []
    for _ in range(_REPETITIONS):
        idle.append(_p99_ms([_asked(index, queries, place) for place in range(_IDLE_QUERIES)]))
        count = min(max(int(_REPLACED * len(vectors)), _FEWEST_REPLACED), len(vectors))
        slots = rng.choice(len(vectors), count, replace=False)
        rebuild = time.perf_counter()
        index.upsert(slots, vectors[slots])
        seconds = [_asked(index, queries, 0)]
        while index.sealing:
            seconds.append(_asked(index, queries, len(seconds)))
        took.append(time.perf_counter() - rebuild)
        during.append(_p99_ms(seconds))
        index.wait_sealed()
    recall = index.recall
    index.close()
    ratios = [one / before for one, before in zip(during, idle, strict=True)]
    return Live(
        "exact" if recall is None else f"approximate, recall@10 {recall:.4f}",
        round(len(vectors) / (filled - began), 1),
        round(settled - filled, 2),
        round(float(np.median(idle)), 3),
        round(float(np.median(during)), 3),
        round(float(np.median(ratios)), 2),
        (round(min(ratios), 2), round(max(ratios), 2)),
        round(float(np.median(took)), 2),
    )


def _asked(index: LatentIndex, queries: Floats, place: int) -> float:
    """Return how long one query takes, in seconds."""
    first = place % len(queries)
    began = time.perf_counter()
    index.search(queries[first : first + 1], _K)
    return time.perf_counter() - began


def _p99_ms(seconds: list[float]) -> float:
    return percentile(sorted(1000 * one for one in seconds), 99)
