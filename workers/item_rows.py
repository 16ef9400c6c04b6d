"""What the recommender keeps of each item, in arrays by slot."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import repeat
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

_FIRST_CAPACITY: Final = 1024
_ORDER_BYTES: Final = 7
_Scalar = TypeVar("_Scalar", bound=np.generic)


class ItemRows:
    """Columns of items. A slot is the row of an id for the life of the process. Its callers hold a lock.

    Args:
        embedding_dim: width of an input embedding.
        record_bytes: bytes of a code record with a code.
    """

    def __init__(self, embedding_dim: int, record_bytes: int) -> None:
        self.ids: list[str] = []
        self._slots: dict[str, int] = {}
        self.known = np.zeros(_FIRST_CAPACITY, np.bool_)
        self.servable = np.zeros(_FIRST_CAPACITY, np.bool_)
        self.embeddings = np.zeros((_FIRST_CAPACITY, embedding_dim), np.float32)
        # Decides between equal scores; unlike a slot it does not depend on who came first.
        self.order = np.zeros(_FIRST_CAPACITY, np.int64)
        self.partitions = np.zeros(_FIRST_CAPACITY, np.int32)
        # Code records, and which of them have a code: the others are shorter.
        self.records = np.zeros((_FIRST_CAPACITY, record_bytes), np.uint8)
        self.coded = np.zeros(_FIRST_CAPACITY, np.bool_)

    def __len__(self) -> int:
        """Return the number of slots."""
        return len(self.ids)

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the slot of each id, -1 where it has none."""
        return np.fromiter(map(self._slots.get, ids, repeat(-1)), np.int64, len(ids))

    def assign(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the slot of each id, a new one where it has none. No id is there twice."""
        slots = self.find(ids)
        places = np.flatnonzero(slots < 0)
        if len(places):
            first = len(self.ids)
            new = [ids[place] for place in places.tolist()]
            slots[places] = np.arange(first, first + len(new))
            self._slots.update(zip(new, range(first, first + len(new)), strict=True))
            self.ids += new
            self._make_room()
            self.order[first : len(self.ids)] = _orders(new)
            self.partitions[first : len(self.ids)] = -1
        return slots

    def _make_room(self) -> None:
        if len(self.ids) > len(self.known):
            capacity = max(len(self.ids), 2 * len(self.known))
            self.known = _grown(self.known, capacity)
            self.servable = _grown(self.servable, capacity)
            self.embeddings = _grown(self.embeddings, capacity)
            self.order = _grown(self.order, capacity)
            self.partitions = _grown(self.partitions, capacity)
            self.records = _grown(self.records, capacity)
            self.coded = _grown(self.coded, capacity)


def _grown(column: NDArray[_Scalar], capacity: int) -> NDArray[_Scalar]:
    # Not `concatenate`: zeros that nobody has touched take no memory yet.
    grown = np.zeros((capacity, *column.shape[1:]), column.dtype)
    grown[: len(column)] = column
    return grown


def _orders(ids: Sequence[str]) -> NDArray[np.int64]:
    digests = b"".join([hashlib.blake2b(name.encode(), digest_size=_ORDER_BYTES).digest() for name in ids])
    numbers = np.zeros((len(ids), 8), np.uint8)
    numbers[:, 8 - _ORDER_BYTES :] = np.frombuffer(digests, np.uint8).reshape(-1, _ORDER_BYTES)
    return numbers.view(">i8")[:, 0].astype(np.int64)
