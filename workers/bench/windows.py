"""Rates of something that goes on: the median over windows of time, and how far these differ."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Final, TypeVar

import msgspec

# The fewest windows that a figure is the median of.
WINDOWS: Final = 5
_POLL_S: Final = 0.02
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")

Result = TypeVar("Result")


class Rate(msgspec.Struct, frozen=True):
    """Events a second: the median of ``windows``, and the slowest and the fastest of them."""

    median: float
    lowest: float
    highest: float
    windows: int

    @classmethod
    def of(cls, rates: Sequence[float]) -> Rate:
        """Return the rate of windows.

        Raises:
            ValueError: there are none.
        """
        return cls(round(median(rates), 1), round(min(rates), 1), round(max(rates), 1), len(rates))


class Drained(msgspec.Struct, frozen=True):
    """What was seen while a process worked through what waits for it."""

    rate: Rate
    cpu_s_per_million: float


class Stopwatch:
    """Times work piece by piece, in windows of at least so many events."""

    def __init__(self, events_a_window: int) -> None:
        self._window = events_a_window
        self._events, self._seconds = 0, 0.0
        self._rates: list[float] = []

    def time(self, events: int, work: Callable[[], Result]) -> Result:
        """Return what ``work`` does, which processes ``events`` events."""
        start = time.perf_counter()
        found = work()
        self._seconds += time.perf_counter() - start
        self._events += events
        if self._events >= self._window:
            self._rates.append(self._events / self._seconds)
            self._events, self._seconds = 0, 0.0
        return found

    def rate(self) -> Rate:
        """Return the rate so far."""
        return Rate.of(self._rates)


def drained(
    left: Callable[[], int], process: int, check: Callable[[], None], *, warm_up: float = 0.1, windows: int = WINDOWS
) -> Drained:
    """Watch the process ``process`` until ``left()``, the number of events still to do, is 0.

    The first events, a share of ``warm_up``, do not count: first calls are slower than the rest. A window begins and
    ends where a batch does.
    """
    total = remaining = left()
    moments: list[tuple[float, int]] = []
    cpu = 0.0
    while remaining:
        check()
        time.sleep(_POLL_S)
        before, remaining = remaining, left()
        if remaining < before and remaining <= (1 - warm_up) * total:
            if not moments:
                cpu = cpu_seconds(process)
            moments.append((time.perf_counter(), total - remaining))
    cpu = cpu_seconds(process) - cpu
    (began, first), (_, last) = moments[0], moments[-1]
    rates = []
    at, done = began, first
    for moment, count in moments[1:]:
        if count - done >= (last - first) / (windows + 1):
            rates.append((count - done) / (moment - at))
            at, done = moment, count
    return Drained(Rate.of(rates), round(cpu / (last - first) * 1e6, 1))


def cpu_seconds(process: int) -> float:
    """Return the processor time that a process has taken, on Linux."""
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _TICKS_A_SECOND
