"""Exact maximum-inner-product search over items that come and go.

A large sealed part lies in FAISS (on the GPU where there is one) and never changes; new vectors go to a
small delta on the host. Both number their vectors as *rows*, the delta's after the sealed ones; the caller
names items by *slot*. A row is live while ``row_of[slot_of[row]] == row``: an item that was replaced or
removed leaves a stale row, which is filtered out after the search. When delta or stale rows grow past a
share, a thread builds a new sealed part and swaps it in.

FAISS picks candidates only. Their scores are computed again on the host in float64, so a result does not
depend on the kernel that FAISS chose for the batch size, nor on what is sealed.

A filter is a mask of the slots that may be found. FAISS on a GPU searches among all rows, so it is asked for more
of them where many are allowed; where few are, or these score low, they are copied out and multiplied on the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from models.arrays import Doubles, Floats, Ints, Mask
from models.index_gather import best_places, exact_scores
from models.index_parts import LARGEST_FETCH, rounding_bound
from models.index_rows import IndexRows

# Candidates beyond k, so that rows whose float32 scores nearly tie are usually there at the first try.
_SLACK: Final = 16
_WIDEN: Final = 4
# Where fewer rows are allowed, they are multiplied one by one.
_FEW: Final = 50_000
# Where more are, FAISS is asked for so many times what would do if the best rows were allowed as often as any.
_SPARE: Final = 1.5


class _Candidates(NamedTuple):
    """Live rows that one query may rank, and what is known of those it does not see."""

    slots: Ints
    rows: Ints
    unseen: float  # no other live row scores above this


class LatentIndex(IndexRows):
    """Vectors float32 ``[dim]`` under slots, and the search among them. All methods may be called from any thread."""

    def search(
        self, queries: Floats, k: int, exclude: Sequence[Ints] | None = None, allowed: Mask | None = None
    ) -> tuple[Floats, Ints]:
        """Return ``(scores, slots)``, float32 and int64 ``[q, k]``, of the largest inner products.

        Exact over the live slots that are ``allowed`` (bool ``[slots]``, for all queries; a slot beyond its end is
        not), but each query's own ``exclude[i]``; best first, equal scores by their order (see :meth:`upsert`).
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
            if allowed is None:
                self._search_all(queries, excludes, scores, found)
            else:
                self._search_allowed(queries, excludes, allowed, scores, found)
        return scores, found

    def _search_all(self, queries: Floats, excludes: Sequence[Ints], scores: Floats, found: Ints) -> None:
        """Write the best of all live rows to ``scores`` and ``found``, ``[q, k]``."""
        keep = scores.shape[1] + _SLACK
        longest = max(map(len, excludes), default=0)
        pending = list(range(len(queries)))
        while pending:
            left = [excludes[query] for query in pending]
            candidates = self._candidates(queries[pending], left, keep, keep + longest)
            pending = [
                query
                for query, own in zip(pending, candidates, strict=True)
                if not self._rank(queries[query], own, scores[query], found[query])
            ]
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
        pending = list(range(len(queries)))
        fetch = int((keep + _SLACK) * _SPARE * self.row_count / max(len(rows), 1))
        if len(rows) > _FEW and fetch <= LARGEST_FETCH:
            candidates = self._candidates(queries, excludes, keep + _SLACK, fetch, everywhere)
            pending = [
                query
                for query, own in enumerate(candidates)
                if not self._rank(queries[query], own, scores[query], found[query])
            ]
        places = best_places(queries[pending], rows, self._vectors_at, keep, self._bounds(queries[pending]))
        for query, chosen in zip(pending, places, strict=True):
            left = chosen[~np.isin(slots[chosen], excludes[query])]
            self._rank(queries[query], _Candidates(slots[left], rows[left], -np.inf), scores[query], found[query])

    def _bounds(self, queries: Floats) -> Doubles:
        """Return how far a float32 score of each query may be from the true one, ``[q]``."""
        bounds = [rounding_bound(queries, part) for part, _ in self._parts()]
        return np.max(bounds, axis=0) if bounds else np.zeros(len(queries))

    def _candidates(
        self, queries: Floats, excludes: Sequence[Ints], keep: int, fetch: int, allowed: Mask | None = None
    ) -> list[_Candidates]:
        """Return for each query the ``keep`` live rows that look best in float32, of ``fetch`` from each part.

        ``allowed`` is bool ``[slots]``, of all slots.
        """
        filled = self._parts()
        tops = [part.search(queries, fetch) for part, _ in filled]
        if not filled:
            return [_Candidates(np.empty(0, np.int64), np.empty(0, np.int64), -np.inf)] * len(queries)
        bounds = self._bounds(queries)
        cuts = np.max([top.cut for top in tops], axis=0)
        scores = np.concatenate([top.scores for top in tops], axis=1)
        rows = np.concatenate([top.rows + base for top, (_, base) in zip(tops, filled, strict=True)], axis=1)
        slots = self._slots_at(rows.ravel()).reshape(rows.shape)
        live = self._row_of[slots] == rows
        if allowed is not None:
            live &= allowed[slots]
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
        exact = exact_scores(query, candidates.rows, self._vectors_at)
        best = np.lexsort((candidates.slots, self._order_of[candidates.slots], -exact))[:k]
        if candidates.unseen != -np.inf and (len(best) < k or exact[best[-1]] <= np.float32(candidates.unseen)):
            return False
        scores[: len(best)] = exact[best]
        found[: len(best)] = candidates.slots[best]
        return True
