"""Slots of item ids: one numbering for a process, however many models see the items."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from itertools import repeat
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

_FIRST_CAPACITY: Final = 1024
_ORDER_BYTES: Final = 7
_Scalar = TypeVar("_Scalar", bound=np.generic)


class ItemIds:
    """A slot is the number of an id for the life of this. Thread-safe.

    Catalogues of several models share one, because ids take more memory than codes: some 220 bytes each.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: list[str] = []
        self._slots: dict[str, int] = {}
        self._orders = np.zeros(_FIRST_CAPACITY, np.int64)

    def __len__(self) -> int:
        """Return the number of slots."""
        return len(self._names)

    def find(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Return the slot of each id, -1 where it has none."""
        return np.fromiter(map(self._slots.get, names, repeat(-1)), np.int64, len(names))

    def assign(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Return the slot of each id, a new one where it has none. No id is there twice."""
        with self._lock:
            slots = self.find(names)
            places = np.flatnonzero(slots < 0)
            if len(places):
                first = len(self._names)
                new = [names[place] for place in places.tolist()]
                slots[places] = np.arange(first, first + len(new))
                self._orders = grown(self._orders, first + len(new))
                self._orders[first : first + len(new)] = _orders(new)
                # Last, for whoever looks an id up without the lock.
                self._names += new
                self._slots.update(zip(new, range(first, first + len(new)), strict=True))
        return slots

    def names(self, slots: NDArray[np.int64]) -> list[str]:
        """Return the id of each slot."""
        return [self._names[slot] for slot in slots.tolist()]

    def orders(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what decides between equal scores; unlike a slot it does not depend on who came first."""
        return self._orders[slots]


def grown(column: NDArray[_Scalar], rows: int) -> NDArray[_Scalar]:
    """Return ``column`` with room for at least so many rows; new ones are zero. Doubles, where it must grow."""
    if rows <= len(column):
        return column
    # Not `concatenate`: zeros that nobody has touched take no memory yet.
    larger = np.zeros((max(rows, 2 * len(column)), *column.shape[1:]), column.dtype)
    larger[: len(column)] = column
    return larger


def _orders(names: Sequence[str]) -> NDArray[np.int64]:
    digests = b"".join([hashlib.blake2b(name.encode(), digest_size=_ORDER_BYTES).digest() for name in names])
    numbers = np.zeros((len(names), 8), np.uint8)
    numbers[:, 8 - _ORDER_BYTES :] = np.frombuffer(digests, np.uint8).reshape(-1, _ORDER_BYTES)
    return numbers.view(">i8")[:, 0].astype(np.int64)
