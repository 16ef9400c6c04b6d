"""Maximum-inner-product search over items that come and go: exact up to 50,000, nearly so among more.

A large sealed part lies in FAISS (on the GPU where there is one) and never changes; new vectors go to a
small delta on the host. Both number their vectors as *rows*, the delta's after the sealed ones; the caller
names items by *slot*. A row is live while ``row_of[slot_of[row]] == row``: an item that was replaced or
removed leaves a stale row, which is filtered out after the search. When delta or stale rows grow past a
share, a thread builds a new sealed part and swaps it in.

FAISS picks candidates only. Their scores are computed again on the host in float64, so a result does not
depend on the kernel that FAISS chose for the batch size, nor on what is sealed.

More sealed rows than ``LARGEST_FLAT`` are searched approximately on a host without a GPU: on average at least .99
of the ten best are found, measured with queries that were asked (``recall``); where that cannot be had, the search
stays exact. Scores, filters that few rows match, and what came since the sealing are exact in any case.

A filter is a mask of the slots that may be found. FAISS on a GPU searches among all rows, so it is asked for more
of them where many are allowed; where few are, or these score low, they are copied out and multiplied on the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from models.arrays import Doubles, Floats, Ints, Mask
from models.index_gather import best_places, exact_scores
from models.index_parts import LARGEST_FETCH, rounding_bound
from models.index_rows import IndexRows

# Candidates beyond k, so that rows whose float32 scores nearly tie are usually there at the first try.
_SLACK: Final = 16
_WIDEN: Final = 4
# Among many rows this part of what a query excludes is allowed for at first: most of it is seldom among the best.
_EXCLUDED_PART: Final = 4
# Where fewer rows are allowed, they are multiplied one by one.
_FEW: Final = 50_000
# Where more are, FAISS is asked for so many times what would do if the best rows were allowed as often as any.
_SPARE: Final = 1.5
# As many as fit the processor's cache with their candidates.
_QUERIES_AT_A_TIME: Final = 256
# Slots times queries for which it can be marked at a time what they must not have.
_MARKS: Final = 1 << 24


class LatentIndex(IndexRows):
    """Vectors float32 ``[dim]`` under slots, and the search among them. All methods may be called from any thread.

    The search is exact while ``recall`` is None; the module says what it is else.
    """

    def search(
        self, queries: Floats, k: int, exclude: Sequence[Ints] | None = None, allowed: Mask | None = None
    ) -> tuple[Floats, Ints]:
        """Return ``(scores, slots)``, float32 and int64 ``[q, k]``, of the largest inner products.

        Of the live slots that are ``allowed`` (bool ``[slots]``, for all queries; a slot beyond its end is not), but
        each query's own ``exclude[i]``; best first, equal scores by their order (see :meth:`upsert`). Scores are
        exact, and so is the choice where the class says so.
        Rows with fewer than k results end in slot -1 with score -inf.

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
        with self._lock:
            self._check_usable()
            self._remember(queries)
            self._seal_if_due()
            if allowed is None:
                self._search_all(queries, excludes, scores, found)
            else:
                self._search_allowed(queries, excludes, allowed, scores, found)
        return scores, found

    def _search_all(self, queries: Floats, excludes: Sequence[Ints], scores: Floats, found: Ints) -> None:
        """Write the best of all live rows to ``scores`` and ``found``, ``[q, k]``."""
        keep = scores.shape[1] + _SLACK
        longest = max(map(len, excludes), default=0)
        pending = np.arange(len(queries))
        if self._sealed.approximate is not None:
            pending = self._fill(queries, excludes, pending, keep, keep + longest // _EXCLUDED_PART, scores, found)
        while len(pending):
            pending = self._fill(queries, excludes, pending, keep, keep + longest, scores, found)
            keep *= _WIDEN

    def _search_allowed(
        self, queries: Floats, excludes: Sequence[Ints], allowed: Mask, scores: Floats, found: Ints
    ) -> None:
        """Write the best of the live rows that are allowed to ``scores`` and ``found``, ``[q, k]``.

        Where many are, the best of all rows have enough of them, unless it is the worst that are allowed.
        """
        everywhere = np.zeros(len(self._row_of), np.bool_)
        everywhere[: len(allowed)] = allowed[: len(everywhere)]
        slots = np.flatnonzero(everywhere & (self._row_of >= 0))
        rows = self._row_of[slots]
        keep = scores.shape[1] + max(map(len, excludes), default=0)
        pending = np.arange(len(queries))
        fetch = int((keep + _SLACK) * _SPARE * self.row_count / max(len(rows), 1))
        if len(rows) > _FEW and fetch <= LARGEST_FETCH:
            pending = self._fill(queries, excludes, pending, keep + _SLACK, fetch, scores, found, everywhere)
        left = queries[pending]
        places = best_places(left, rows, self._vectors_at, keep, self._bounds(left))
        for query, chosen in zip(pending.tolist(), places, strict=True):
            own = chosen[~np.isin(slots[chosen], excludes[query])]
            exact = exact_scores(queries[query], rows[own], self._vectors_at)
            best = np.lexsort((slots[own], self._order_of[slots[own]], -exact))[: scores.shape[1]]
            scores[query, : len(best)], found[query, : len(best)] = exact[best], slots[own[best]]

    def _bounds(self, queries: Floats) -> Doubles:
        """Return how far a float32 score of each query may be from the true one, ``[q]``."""
        bounds = [rounding_bound(queries, part) for part, _ in self._parts()]
        return np.max(bounds, axis=0) if bounds else np.zeros(len(queries))

    def _fill(
        self,
        queries: Floats,
        excludes: Sequence[Ints],
        pending: Ints,
        keep: int,
        fetch: int,
        scores: Floats,
        found: Ints,
        allowed: Mask | None = None,
    ) -> Ints:
        """Rank, for the ``pending`` ones of the queries, the ``keep`` live rows that look best in float32.

        They are chosen from the ``fetch`` best of each part. Writes the best to ``scores`` and ``found``, ``[q, k]``,
        and returns those of ``pending`` for which a row that was not looked at might be among them.

        ``allowed`` is bool ``[slots]``, of all slots.
        """
        filled = self._parts()
        unsure = [np.empty(0, np.int64)]
        for start in range(0, len(pending) if filled else 0, _QUERIES_AT_A_TIME):
            some = pending[start : start + _QUERIES_AT_A_TIME]
            own = queries[some]
            tops = [part.search(own, fetch) for part, _ in filled]
            looks = np.concatenate([top.scores for top in tops], axis=1)
            rows = np.concatenate([top.rows + base for top, (_, base) in zip(tops, filled, strict=True)], axis=1)
            slots = self._slots_at(rows.ravel()).reshape(rows.shape)
            counts = self._row_of[slots] == rows
            if allowed is not None:
                counts &= allowed[slots]
            counts &= ~self._barred(slots, [excludes[query] for query in some.tolist()])
            looks[~counts] = -np.inf
            cut = np.max([top.cut for top in tops], axis=0)
            if (spare := looks.shape[1] - keep) > 0:
                split = np.argpartition(looks, spare - 1, axis=1)
                cut = np.maximum(cut, np.take_along_axis(looks, split[:, [spare - 1]], axis=1)[:, 0])
                chosen = split[:, spare:]
                rows, slots, looks = (np.take_along_axis(array, chosen, axis=1) for array in (rows, slots, looks))
            exact = exact_scores(np.repeat(own, rows.shape[1], axis=0), rows.ravel(), self._vectors_at)
            exact = exact.reshape(rows.shape)
            exact[looks == -np.inf] = -np.inf
            k = scores.shape[1]
            best = self._ranked(exact, slots)[:, :k]
            exact, slots = np.take_along_axis(exact, best, axis=1), np.take_along_axis(slots, best, axis=1)
            slots[exact == -np.inf] = -1
            scores[some, : best.shape[1]], found[some, : best.shape[1]] = exact, slots
            unseen = cut + self._bounds(own)
            last = exact[:, -1] if best.shape[1] == k else np.full(len(some), -np.inf, np.float32)
            certain = (unseen == -np.inf) | (last > unseen.astype(np.float32))
            unsure.append(some[~certain])
        return np.concatenate(unsure)

    def _ranked(self, exact: Floats, slots: Ints) -> Ints:
        """Return the places of each row of ``exact`` ``[q, m]``, the best first, equal scores by their order."""
        best = np.argsort(-exact, axis=1, kind="stable")
        ordered = np.take_along_axis(exact, best, axis=1)
        ties = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != -np.inf)
        for query in np.flatnonzero(ties.any(axis=1)):
            best[query] = np.lexsort((slots[query], self._order_of[slots[query]], -exact[query]))
        return best

    def _barred(self, slots: Ints, excludes: Sequence[Ints]) -> Mask:
        """Return which of ``slots`` ``[q, m]`` are among the ``excludes`` of their query."""
        lengths = np.fromiter(map(len, excludes), np.int64, len(excludes))
        if not lengths.any():
            return np.zeros(slots.shape, np.bool_)
        flat = np.concatenate(excludes)
        query_of = np.repeat(np.arange(len(excludes)), lengths)
        known = self._in_range(flat)
        flat, query_of = flat[known], query_of[known]
        barred = np.empty(slots.shape, np.bool_)
        width = len(self._row_of)
        together = max(_MARKS // width, 1)
        if len(self._marks) < min(together, len(slots)) * width:
            self._marks = np.zeros(min(together, _QUERIES_AT_A_TIME) * width, np.bool_)
        for first in range(0, len(slots), together):
            some = slots[first : first + together]
            mine = (query_of >= first) & (query_of < first + together)
            places = (query_of[mine] - first) * width + flat[mine]
            self._marks[places] = True
            barred[first : first + together] = self._marks[some + width * np.arange(len(some))[:, None]]
            self._marks[places] = False
        return barred
