"""The rows of an index: what is sealed, what is new, and which of them count."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import faiss
import numpy as np

from models.arrays import Floats, Ints, Mask, float_matrix
from models.index_fast import MEASURED_QUERIES
from models.index_parts import Delta, Part, SealedPart

# Beyond this a float32 inner product could overflow.
_LARGEST: Final = 1e15
# So many queries are remembered, and so many of a call: one large call is not all that is asked.
_REMEMBERED: Final = MEASURED_QUERIES
_REMEMBERED_OF_A_CALL: Final = 16


class IndexRows:
    """Vectors float32 ``[dim]`` under slots: non-negative integers, best dense (memory follows the largest).

    A new sealed part is built when delta or stale rows exceed both ``min_delta`` and ``seal_share`` of the
    sealed rows, with half of the processors: a twentieth, because a query looks at all of the delta, and while a part
    is built there is most of it. All methods may be called from any thread.
    """

    def __init__(self, dim: int, *, seal_share: float = 0.05, min_delta: int = 1024) -> None:
        self.dim = dim
        self._seal_share = seal_share
        self._min_delta = min_delta
        self._lock = threading.RLock()
        self._empty()
        # The queries asked last, in a ring, and how many were put into it.
        self._asked = np.empty((_REMEMBERED, dim), np.float32)
        self._asked_count = 0
        self._filling = False
        self._sealer: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._closed = False

    def _empty(self) -> None:
        self._sealed = SealedPart(self.dim)
        self._sealed_slots = np.empty(0, np.int64)
        self._delta = Delta(self.dim)
        self._row_of = np.empty(0, np.int64)  # of each slot, -1 where there is none
        self._order_of = np.empty(0, np.int64)  # of each slot, among equal scores
        self._marks: Mask = np.empty(0, np.bool_)  # scratch of a search, all False between searches
        self._live = 0

    def __len__(self) -> int:
        """Return the number of live slots."""
        return self._live

    @property
    def row_count(self) -> int:
        """Return the number of rows held, stale ones included."""
        with self._lock:
            return len(self._sealed) + len(self._delta)

    @property
    def tombstones(self) -> int:
        """Return the number of stale rows, without waiting for a search: one that just ends may make it inexact."""
        return max(len(self._sealed) + len(self._delta) - self._live, 0)

    @property
    def recall(self) -> float | None:
        """Return the share of the ten best sealed rows that a search finds, a mean; None where searches are exact."""
        approximate = self._sealed.approximate
        return None if approximate is None else approximate.recall

    @property
    def sealing(self) -> bool:
        """Whether a new sealed part is being built."""
        return self._sealer is not None

    @property
    def built(self) -> bool:
        """Whether a sealed part is there, or none is being built."""
        return len(self._sealed) > 0 or not self.sealing

    def upsert(self, slots: Ints, vectors: Floats, order: Ints | None = None) -> None:
        """Insert or replace ``vectors[i]`` under ``slots[i]``; of a slot that comes twice the last counts.

        ``order`` decides between equal scores, smaller first; it defaults to the slot. Whoever needs the
        same lists after a restart passes numbers that belong to the item (say, a hash of its id).

        Raises:
            ValueError: a shape is wrong, a slot negative, or a value NaN, infinite or above 1e15.
        """
        slots = np.asarray(slots, np.int64)
        vectors = self._checked(vectors, "vectors")
        order = slots if order is None else np.asarray(order, np.int64)
        if slots.shape != (len(vectors),) or order.shape != slots.shape:
            raise ValueError(f"{len(vectors)} vectors need as many slots and orders")
        if not len(slots):
            return
        if slots.min() < 0:
            raise ValueError(f"slot {slots.min()} is negative")
        with self._lock:
            self._check_usable()
            self._make_room(int(slots.max()) + 1)
            first = len(self._sealed) + len(self._delta)
            self._delta.append(slots, vectors)
            last = len(slots) - 1 - np.unique(slots[::-1], return_index=True)[1]
            self._live += int(np.count_nonzero(self._row_of[slots[last]] < 0))
            self._row_of[slots[last]] = first + last
            self._order_of[slots[last]] = order[last]
            self._seal_if_due()

    def remove(self, slots: Ints) -> None:
        """Remove slots; unknown ones are ignored."""
        slots = np.unique(np.asarray(slots, np.int64))
        with self._lock:
            self._check_usable()
            known = slots[self._rows_of(slots) >= 0]
            self._row_of[known] = -1
            self._live -= len(known)
            self._seal_if_due()

    def expect(self, queries: Floats) -> None:
        """Tell what will be asked: float32 ``[q, dim]``, by which a sealed part is tuned while nothing was asked yet.

        Raises:
            ValueError: as a search.
        """
        queries = self._checked(queries, "queries")[:_REMEMBERED]
        with self._lock:
            self._asked[: len(queries)] = queries
            self._asked_count = max(self._asked_count, len(queries))

    def vectors(self, slots: Ints) -> Floats:
        """Return the vectors of live slots, float32 ``[n, dim]``.

        Raises:
            KeyError: a slot is not there.
        """
        slots = np.asarray(slots, np.int64)
        with self._lock:
            rows = self._rows_of(slots)
            if (rows < 0).any():
                raise KeyError(f"slot {int(slots[np.flatnonzero(rows < 0)[0]])} is not in the index")
            return self._vectors_at(rows)

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Build no sealed part inside of the ``with`` block: one at its end does for all that comes in it."""
        self._filling = True
        try:
            yield
        finally:
            with self._lock:
                self._filling = False
                self._seal_if_due()

    def wait_sealed(self) -> None:
        """Wait until no new sealed part is being built."""
        while (sealer := self._sealer) is not None:
            sealer.join()
        self._check_usable()

    def close(self) -> None:
        """Wait for the background thread, let go of all rows, and refuse further use."""
        with self._lock:
            self._closed = True
        while (sealer := self._sealer) is not None:
            sealer.join()
        with self._lock:
            self._empty()

    def _checked(self, matrix: Floats, name: str) -> Floats:
        matrix = float_matrix(matrix, self.dim, name)
        if np.abs(matrix).max(initial=0.0) > _LARGEST:
            raise ValueError(f"{name} must not exceed {_LARGEST:g} in any dimension")
        return matrix

    def _check_usable(self) -> None:
        if self._failure is not None:
            raise RuntimeError("building a new sealed part failed") from self._failure
        if self._closed:
            raise RuntimeError("the index is closed")

    def _remember(self, queries: Floats) -> None:
        """Keep some of ``queries``, to tell from them how well a new sealed part answers."""
        some = queries[:: max(len(queries) // _REMEMBERED_OF_A_CALL, 1)][:_REMEMBERED_OF_A_CALL]
        self._asked[(self._asked_count + np.arange(len(some))) % _REMEMBERED] = some
        self._asked_count += len(some)

    def _make_room(self, slots: int) -> None:
        missing = slots - len(self._row_of)
        if missing > 0:
            grown = max(missing, len(self._row_of))
            self._row_of = np.concatenate([self._row_of, np.full(grown, -1)])
            self._order_of = np.concatenate([self._order_of, np.zeros(grown, np.int64)])

    def _in_range(self, slots: Ints) -> Mask:
        return (slots >= 0) & (slots < len(self._row_of))

    def _rows_of(self, slots: Ints) -> Ints:
        """Return the live row of each slot, -1 where there is none."""
        rows = np.full(len(slots), -1)
        known = self._in_range(slots)
        rows[known] = self._row_of[slots[known]]
        return rows

    def _slots_at(self, rows: Ints) -> Ints:
        slots = np.empty(len(rows), np.int64)
        sealed = rows < len(self._sealed)
        slots[sealed] = self._sealed_slots[rows[sealed]]
        slots[~sealed] = self._delta.slots[rows[~sealed] - len(self._sealed)]
        return slots

    def _vectors_at(self, rows: Ints) -> Floats:
        vectors = np.empty((len(rows), self.dim), np.float32)
        sealed = rows < len(self._sealed)
        vectors[sealed] = self._sealed.vectors[rows[sealed]]
        vectors[~sealed] = self._delta.vectors[rows[~sealed] - len(self._sealed)]
        return vectors

    def _parts(self) -> list[tuple[Part, int]]:
        """Return the parts that have rows, each with the number of its first."""
        parts: list[tuple[Part, int]] = [(self._sealed, 0), (self._delta, len(self._sealed))]
        return [(part, base) for part, base in parts if len(part)]

    def _due(self) -> bool:
        """Return whether the delta or the stale rows have grown too large, or queries came that were not guessed."""
        if self._closed or self._filling:
            return False
        stale = len(self._sealed) + len(self._delta) - self._live
        limit = max(self._min_delta, self._seal_share * len(self._sealed))
        return max(len(self._delta), stale) > limit or (self._sealed.guessed and self._asked_count >= _REMEMBERED)

    def _seal_if_due(self) -> None:
        """Start building a new sealed part where that is due."""
        if self._sealer is None and self._due():
            self._sealer = threading.Thread(target=self._seal, name="latent-index-sealer", daemon=True)
            self._sealer.start()

    def _seal(self) -> None:
        """Build sealed parts until none is due: what came during the last one may be much."""
        try:
            # It counts for this thread only; the searches have the other processors.
            faiss.omp_set_num_threads(max(faiss.omp_get_max_threads() // 2, 1))
            while self._sealer is not None:
                self._seal_once()
        except BaseException as error:  # noqa: BLE001 - the next caller raises it
            self._failure = error
            self._sealer = None

    def _seal_once(self) -> None:
        """Build a sealed part of all rows that are live now, beside the searches, and swap it in."""
        with self._lock:
            rows = np.sort(self._row_of[self._row_of >= 0])
            end = len(self._sealed) + len(self._delta)
            sealed, delta = self._sealed, self._delta
            slots = self._slots_at(rows)
            appended = delta.vectors
            asked = self._asked[: self._asked_count].copy()
        # Neither the old sealed part nor the rows that the delta had ever change: they are read without the lock.
        kept = np.searchsorted(rows, len(sealed))
        sources = [(sealed.vectors, rows[:kept]), (appended, rows[kept:] - len(sealed))]
        built = SealedPart(self.dim, sources, asked, sealed)
        with self._lock:
            self._swap(built, slots, rows, end)
            if not self._due():
                self._sealer = None

    def _swap(self, built: SealedPart, slots: Ints, old_rows: Ints, end: int) -> None:
        """Put ``built`` in place: row i of it was ``old_rows[i]``; rows from ``end`` on came meanwhile."""
        unchanged = self._row_of[slots] == old_rows
        newer = self._row_of >= end
        self._row_of[newer] += len(built) - end
        self._row_of[slots[unchanged]] = np.flatnonzero(unchanged)
        delta = Delta(self.dim)
        delta.append(self._delta.slots[end - len(self._sealed) :], self._delta.vectors[end - len(self._sealed) :])
        self._sealed, self._sealed_slots, self._delta = built, slots, delta
