"""Exact maximum-inner-product search over items that come and go.

A large sealed part lies in FAISS (on the GPU where there is one) and never changes; new vectors go to a
small delta on the host. Both number their vectors as *rows*, the delta's after the sealed ones; the caller
names items by *slot*. A row is live while ``row_of[slot_of[row]] == row``: an item that was replaced or
removed leaves a stale row, which is filtered out after the search. When delta or stale rows grow past a
share, a thread builds a new sealed part and swaps it in.

FAISS picks candidates only. Their scores are computed again on the host in float64, so a result does not
depend on the kernel that FAISS chose for the batch size, nor on what is sealed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from models.arrays import Floats, Ints, Mask, float_matrix
from models.index_parts import Delta, Part, SealedPart, rounding_bound

# Candidates beyond k, so that rows whose float32 scores nearly tie are usually there at the first try.
_SLACK: Final = 16
_WIDEN: Final = 4
# Beyond this a float32 inner product could overflow.
_LARGEST: Final = 1e15


class _Candidates(NamedTuple):
    """Live rows that one query may rank, and what is known of those it does not see."""

    slots: Ints
    rows: Ints
    unseen: float  # no other live row scores above this


class LatentIndex:
    """Vectors float32 ``[dim]`` under slots: non-negative integers, best dense (memory follows the largest).

    A new sealed part is built when delta or stale rows exceed both ``min_delta`` and ``seal_share`` of the
    sealed rows. All methods may be called from any thread.
    """

    def __init__(self, dim: int, *, seal_share: float = 0.1, min_delta: int = 1024) -> None:
        self.dim = dim
        self._seal_share = seal_share
        self._min_delta = min_delta
        self._lock = threading.RLock()
        self._sealed = SealedPart(np.empty((0, dim), np.float32))
        self._sealed_slots = np.empty(0, np.int64)
        self._delta = Delta(dim)
        self._row_of = np.empty(0, np.int64)  # of each slot, -1 where there is none
        self._order_of = np.empty(0, np.int64)  # of each slot, among equal scores
        self._excluded: Mask = np.empty(0, np.bool_)  # scratch of a search, all False between searches
        self._live = 0
        self._sealer: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._closed = False

    def __len__(self) -> int:
        """Return the number of live slots."""
        return self._live

    @property
    def row_count(self) -> int:
        """Return the number of rows held, stale ones included."""
        with self._lock:
            return len(self._sealed) + len(self._delta)

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

    def search(self, queries: Floats, k: int, exclude: Sequence[Ints] | None = None) -> tuple[Floats, Ints]:
        """Return ``(scores, slots)``, float32 and int64 ``[q, k]``, of the largest inner products.

        Exact over the live slots but each query's own ``exclude[i]``; best first, equal scores by their
        order (see :meth:`upsert`). Rows with fewer than k results end in slot -1 with score -inf.

        Raises:
            ValueError: a shape is wrong, or a query has NaN, an infinite value or one above 1e15.
        """
        queries = self._checked(queries, "queries")
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        if exclude is not None and len(exclude) != len(queries):
            raise ValueError(f"{len(queries)} queries need as many exclude lists, not {len(exclude)}")
        none = np.empty(0, np.int64)
        excludes = [none] * len(queries) if exclude is None else [np.asarray(one, np.int64) for one in exclude]
        scores = np.full((len(queries), k), -np.inf, np.float32)
        found = np.full((len(queries), k), -1, np.int64)
        keep = k + _SLACK
        longest = max(map(len, excludes), default=0)
        pending = list(range(len(queries)))
        with self._lock:
            self._check_usable()
            while pending:
                candidates = self._candidates(queries[pending], [excludes[query] for query in pending], keep, longest)
                pending = [
                    query
                    for query, own in zip(pending, candidates, strict=True)
                    if not self._rank(queries[query], own, scores[query], found[query])
                ]
                keep *= _WIDEN
        return scores, found

    def wait_sealed(self) -> None:
        """Wait until no new sealed part is being built."""
        while (sealer := self._sealer) is not None:
            sealer.join()
        self._check_usable()

    def close(self) -> None:
        """Wait for the background thread and refuse further use."""
        with self._lock:
            self._closed = True
        while (sealer := self._sealer) is not None:
            sealer.join()

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

    def _make_room(self, slots: int) -> None:
        missing = slots - len(self._row_of)
        if missing > 0:
            grown = max(missing, len(self._row_of))
            self._row_of = np.concatenate([self._row_of, np.full(grown, -1)])
            self._order_of = np.concatenate([self._order_of, np.zeros(grown, np.int64)])
            self._excluded = np.concatenate([self._excluded, np.zeros(grown, np.bool_)])

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

    def _candidates(self, queries: Floats, excludes: Sequence[Ints], keep: int, longest: int) -> list[_Candidates]:
        """Return for each query the ``keep`` live rows, or all, that look best in float32."""
        sources: list[tuple[Part, int]] = [(self._sealed, 0), (self._delta, len(self._sealed))]
        filled = [(part, base) for part, base in sources if len(part)]
        tops = [part.search(queries, keep + longest) for part, _ in filled]
        if not filled:
            return [_Candidates(np.empty(0, np.int64), np.empty(0, np.int64), -np.inf)] * len(queries)
        bounds = np.max([rounding_bound(queries, part) for part, _ in filled], axis=0)
        cuts = np.max([top.cut for top in tops], axis=0)
        scores = np.concatenate([top.scores for top in tops], axis=1)
        rows = np.concatenate([top.rows + base for top, (_, base) in zip(tops, filled, strict=True)], axis=1)
        slots = self._slots_at(rows.ravel()).reshape(rows.shape)
        live = self._row_of[slots] == rows
        result = []
        for query, exclude in enumerate(excludes):
            barred = exclude[self._in_range(exclude)]
            self._excluded[barred] = True
            chosen = np.flatnonzero(live[query] & ~self._excluded[slots[query]])
            self._excluded[barred] = False
            cut = float(cuts[query])
            if len(chosen) > keep:
                own = scores[query, chosen]
                split = np.argpartition(own, len(own) - keep - 1)
                cut = max(cut, float(own[split[-keep - 1]]))
                chosen = chosen[split[-keep:]]
            result.append(_Candidates(slots[query, chosen], rows[query, chosen], cut + float(bounds[query])))
        return result

    def _rank(self, query: Floats, candidates: _Candidates, scores: Floats, found: Ints) -> bool:
        """Write the best candidates to ``scores`` and ``found`` ``[k]``, unless an unseen row might be among them."""
        k = len(scores)
        # float32 x float32 is exact in float64, and each row is summed by itself in a fixed order.
        products = self._vectors_at(candidates.rows).astype(np.float64) * query.astype(np.float64)
        exact = np.add.reduce(products, axis=1).astype(np.float32)
        best = np.lexsort((candidates.slots, self._order_of[candidates.slots], -exact))[:k]
        if candidates.unseen != -np.inf and (len(best) < k or exact[best[-1]] <= np.float32(candidates.unseen)):
            return False
        scores[: len(best)] = exact[best]
        found[: len(best)] = candidates.slots[best]
        return True

    def _seal_if_due(self) -> None:
        """Start building a new sealed part where the delta or the stale rows have grown too large."""
        stale = len(self._sealed) + len(self._delta) - self._live
        limit = max(self._min_delta, self._seal_share * len(self._sealed))
        if self._sealer is None and max(len(self._delta), stale) > limit:
            self._sealer = threading.Thread(target=self._seal, name="latent-index-sealer", daemon=True)
            self._sealer.start()

    def _seal(self) -> None:
        """Build a sealed part of all rows that are live now, beside the searches, and swap it in."""
        try:
            with self._lock:
                rows = np.sort(self._row_of[self._row_of >= 0])
                end = len(self._sealed) + len(self._delta)
                sealed, delta = self._sealed, self._delta
                slots = self._slots_at(rows)
                appended = delta.vectors[rows[rows >= len(sealed)] - len(sealed)]
            # The old sealed part never changes, so it may be read without the lock.
            kept = sealed.vectors[rows[rows < len(sealed)]]
            built = SealedPart(np.concatenate([kept, appended]))
            with self._lock:
                self._swap(built, slots, rows, end)
        except BaseException as error:  # noqa: BLE001 - the next caller raises it
            self._failure = error
        finally:
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
