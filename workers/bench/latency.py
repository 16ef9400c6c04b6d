"""Figures out of single durations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec


class Summary(msgspec.Struct, frozen=True):
    """Durations in milliseconds. ``missing`` counts what never happened while somebody waited for it."""

    p50: float
    p90: float
    p99: float
    p999: float = msgspec.field(name="p99.9")
    max: float
    samples: int
    missing: int = 0


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest value that ``percent`` of the values do not exceed (nearest rank).

    ``ordered`` is ascending. It is always a value that was measured, never one in between.

    Raises:
        ValueError: there are no values.
    """
    if not ordered:
        raise ValueError("nothing was measured")
    rank = math.ceil(percent / 100 * len(ordered))
    return ordered[max(rank, 1) - 1]


def summarize(seconds: Sequence[float], missing: int = 0) -> Summary:
    """Return the summary of durations in seconds.

    Raises:
        ValueError: there are no values.
    """
    ordered = sorted(1000 * value for value in seconds)
    p50, p90, p99, p999, largest = (round(percentile(ordered, percent), 1) for percent in (50, 90, 99, 99.9, 100))
    return Summary(p50, p90, p99, p999, largest, len(ordered), missing)
