"""How long an interaction takes to its user's new list, measured from outside, by Kafka's time and the list's."""

from __future__ import annotations

import time
from collections import deque
from typing import Final, NamedTuple, cast

import msgspec
import numpy as np

from workers.explorer.system import System

# The first delays that are asked for are those of so many users.
_MOST_PENDING: Final = 50
_GIVEN_UP_AFTER_S: Final = 30.0
_MEASURED: Final = 200
_ORDER_DIGITS: Final = 16


class _Pending(NamedTuple):
    offset: int
    produced_at: float


class _Head(msgspec.Struct):
    order: str
    generated_at: float


class Delays:
    """The last delays. A list that was made by something later than the event would count too long, so the newest
    event of each user counts alone."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._pending: dict[str, _Pending] = {}
        self._delays: deque[float] = deque(maxlen=_MEASURED)

    def note(self, user_id: str, offset: int, produced_at: float) -> None:
        """Wait for the list of an event that just came in."""
        if user_id in self._pending or len(self._pending) < _MOST_PENDING:
            self._pending[user_id] = _Pending(offset, produced_at)

    def look(self) -> None:
        """Measure those whose list knows of their event; one round trip."""
        if not self._pending:
            return
        names = list(self._pending)
        stored = cast(
            list[bytes | None], self._system.redis.mget([self._system.keys.recommendations(n) for n in names])
        )
        for name, data in zip(names, stored, strict=True):
            pending = self._pending[name]
            head = None if data is None else _head(data)
            if head is not None and int(head.order[-_ORDER_DIGITS:]) > pending.offset:
                self._delays.append(max(head.generated_at - pending.produced_at, 0.0))
                del self._pending[name]
            elif time.time() - pending.produced_at > _GIVEN_UP_AFTER_S:
                del self._pending[name]

    def quantiles(self) -> dict[str, float] | None:
        """Return ``p50`` and ``p95`` in milliseconds, and over how many events; None before the first."""
        if not self._delays:
            return None
        p50, p95 = np.quantile(np.array(self._delays) * 1000, (0.5, 0.95)).round(1).tolist()
        return {"p50": p50, "p95": p95, "events": len(self._delays)}


def _head(data: bytes) -> _Head | None:
    """Return the beginning of a list, None where it is damaged: the recommender that finds it says so."""
    try:
        head = msgspec.json.decode(data, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return head if head.order[-_ORDER_DIGITS:].isdecimal() else None
