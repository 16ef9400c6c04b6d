"""From histories to ranked lists: the one path by which anything is recommended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.index import LatentIndex
from schemas.filters import Filter
from workers.catalogue import Catalogue, History, unit_vectors
from workers.explaining import explained
from workers.shape import Candidates, fetch_size, shaped
from workers.wanted import Ranked, Wanted, rounded


class _Asked(NamedTuple):
    """A list to make: the row of its query, what it must not have, and what it may."""

    row: int
    exclude: NDArray[np.int64]
    wanted: Wanted


class Ranker:
    """Ranks the items of a catalogue under one model."""

    def __init__(self, bundle: Bundle, catalogue: Catalogue) -> None:
        self._bundle = bundle
        self._catalogue = catalogue

    def for_histories(self, histories: Sequence[History], wanted: Sequence[Wanted]) -> list[Ranked]:
        """Return the list ``wanted[i]`` for the history ``histories[i]`` of (item id, weight), without its items."""
        return [lists[0] for lists in self.several(histories, [[one] for one in wanted])]

    def several(self, histories: Sequence[History], wanted: Sequence[Sequence[Wanted]]) -> list[list[Ranked]]:
        """Return the lists ``wanted[i]`` for the history ``histories[i]`` of (item id, weight), without its items."""
        ends = np.cumsum([0, *map(len, histories)])
        slots = self._catalogue.slots([item for history in histories for item, _ in history])
        weights = np.array([weight for history in histories for _, weight in history], np.float32)
        bags, known = self._catalogue.bags(slots, weights, ends)
        ranked = [[] if here else [Ranked([], []) for _ in own] for own, here in zip(wanted, known, strict=True)]
        rows = np.flatnonzero(known).tolist()
        if not rows:
            return ranked
        users = self._bundle.space.user_codes(bags[rows])
        codes = self._bundle.user_codec.encode(users)
        queries = np.hstack([users, np.ones((len(rows), 1), np.float32)])
        asked = [
            _Asked(query, self._barred(slots[ends[row] : ends[row + 1]], one), one)
            for query, row in enumerate(rows)
            for one in wanted[row]
        ]
        found = self._search(self._catalogue.retrieval, queries, asked)
        for one, candidates, made in zip(asked, found, self._ranked(found), strict=True):
            row = rows[one.row]
            made.code = codes[one.row].tobytes()
            if one.wanted.explain:
                self._explain(made, candidates, histories[row], one.wanted)
            ranked[row].append(made)
        return ranked

    def similar(self, item_ids: Sequence[str], wanted: Sequence[Wanted]) -> list[Ranked]:
        """Return the items nearest to each of ``item_ids``, which must be known (not: available)."""
        vectors = self._catalogue.unit_vectors(item_ids)
        asked = [
            _Asked(row, self._barred(own, one), one)
            for row, (own, one) in enumerate(zip(self._catalogue.slots(item_ids)[:, None], wanted, strict=True))
        ]
        return self._ranked(self._search(self._catalogue.similarity, vectors, asked))

    def near(self, vectors: NDArray[np.float32], wanted: Sequence[Wanted]) -> list[Ranked]:
        """Return the items nearest to raw feature vectors, float32 ``[n, input_dim]``."""
        content = self._bundle.content
        if content is None:
            raise ValueError("the model has no content part: it cannot encode features")
        codes = content.codes(vectors)
        names = [""] * len(vectors)  # No item is called so: the bridge places them.
        placed = self._bundle.space.place(names, content.latents(codes), np.ones(len(vectors), bool))
        asked = [_Asked(row, self._barred(np.empty(0, np.int64), one), one) for row, one in enumerate(wanted)]
        return self._ranked(self._search(self._catalogue.similarity, unit_vectors(placed.retrieval), asked))

    def _barred(self, slots: NDArray[np.int64], wanted: Wanted) -> NDArray[np.int64]:
        """Return what a list must not have: ``slots``, but -1, and what it excludes itself."""
        if wanted.exclude:
            slots = np.concatenate([slots, self._catalogue.slots(list(wanted.exclude))])
        return slots[slots >= 0]

    def _search(self, index: LatentIndex, queries: NDArray[np.float32], asked: list[_Asked]) -> list[Candidates]:
        """Return what makes each list; searches once for each filter among them."""
        by_filter: dict[Filter | None, list[int]] = defaultdict(list)
        for place, one in enumerate(asked):
            by_filter[one.wanted.filter].append(place)
        lists: dict[int, Candidates] = {}
        for condition, places in by_filter.items():
            # Lists of one user that exclude the same differ only in how they are chosen.
            first = {(asked[place].row, asked[place].wanted.exclude): place for place in places}
            rows = [asked[place].row for place in first.values()]
            fetch = max(fetch_size(asked[place].wanted) for place in places)
            found = self._found(
                index, queries[rows], [asked[place].exclude for place in first.values()], condition, fetch
            )
            found_of = dict(zip(first, found, strict=True))
            for place in places:
                one = asked[place]
                more = partial(self._more, index, queries[[one.row]], one.exclude)
                lists[place] = shaped(self._catalogue, one.wanted, found_of[one.row, one.wanted.exclude], more)
        return [lists[place] for place in range(len(asked))]

    def _more(
        self,
        index: LatentIndex,
        query: NDArray[np.float32],
        exclude: NDArray[np.int64],
        condition: Filter | None,
        taken: NDArray[np.int64],
        fetch: int,
    ) -> Candidates:
        return self._found(index, query, [np.concatenate([exclude, taken])], condition, fetch)[0]

    def _found(
        self,
        index: LatentIndex,
        queries: NDArray[np.float32],
        exclude: Sequence[NDArray[np.int64]],
        condition: Filter | None,
        fetch: int,
    ) -> list[Candidates]:
        allowed = None if condition is None else self._catalogue.mask(condition)
        scores, slots = index.search(queries, fetch, exclude, allowed)
        return [Candidates(*row).without_gaps() for row in zip(slots, scores, strict=True)]

    def _explain(self, ranked: Ranked, found: Candidates, history: History, wanted: Wanted) -> None:
        space = self._bundle.space
        reasons = explained(space, self._catalogue, history, found.slots, wanted.explain)
        ranked.because, ranked.biases = reasons.because, reasons.biases if space.linear else None

    def _ranked(self, found: Sequence[Candidates]) -> list[Ranked]:
        """Return lists of ids and rounded scores; of all lists together, which is soon done."""
        if not found:
            return []
        ids = self._catalogue.ids(np.concatenate([one.slots for one in found]))
        scores = rounded(np.concatenate([one.scores for one in found]))
        ends = np.cumsum([len(one.slots) for one in found]).tolist()
        return [Ranked(ids[start:end], scores[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
