"""From histories to ranked lists: the one path by which anything is recommended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.index import LatentIndex
from schemas.filters import Filter
from workers.catalogue import Catalogue, unit_vectors

# A float32 score has about 7 digits; 6 are enough to order by and shorter to store.
SCORE_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Wanted:
    """What may stand in one list: ``k`` items that match ``filter`` and are not among ``exclude``."""

    k: int
    filter: Filter | None = None
    exclude: frozenset[str] = frozenset()


@dataclass(slots=True)
class Ranked:
    """Items, best first, and the user code that ranked them (empty where no item of the history is known)."""

    items: list[str]
    scores: list[float]
    code: bytes = b""


class Ranker:
    """Ranks the items of a catalogue under one model."""

    def __init__(self, bundle: Bundle, catalogue: Catalogue) -> None:
        self._bundle = bundle
        self._catalogue = catalogue

    def for_histories(self, histories: Sequence[Sequence[tuple[str, float]]], wanted: Sequence[Wanted]) -> list[Ranked]:
        """Return the list ``wanted[i]`` for the history ``histories[i]`` of (item id, weight), without its items."""
        ranked = [Ranked([], []) for _ in histories]
        bags, known = self._catalogue.bags(histories)
        rows = np.flatnonzero(known).tolist()
        if not rows:
            return ranked
        users = self._bundle.space.user_codes(bags[rows])
        codes = self._bundle.user_codec.encode(users)
        queries = np.hstack([users, np.ones((len(rows), 1), np.float32)])
        exclude = [self._published([item for item, _ in histories[row]], wanted[row]) for row in rows]
        found = self._search(self._catalogue.retrieval, queries, exclude, [wanted[row] for row in rows])
        for row, result, code in zip(rows, found, codes, strict=True):
            ranked[row] = Ranked(result.items, result.scores, code.tobytes())
        return ranked

    def similar(self, item_ids: Sequence[str], wanted: Sequence[Wanted]) -> list[Ranked]:
        """Return the items nearest to each of ``item_ids``, which must be known (not: available)."""
        vectors = self._catalogue.unit_vectors(item_ids)
        exclude = [self._published([item], one) for item, one in zip(item_ids, wanted, strict=True)]
        return self._search(self._catalogue.similarity, vectors, exclude, wanted)

    def near(self, vectors: NDArray[np.float32], wanted: Sequence[Wanted]) -> list[Ranked]:
        """Return the items nearest to raw feature vectors, float32 ``[n, input_dim]``."""
        content = self._bundle.content
        if content is None:
            raise ValueError("the model has no content part: it cannot encode features")
        codes = content.codes(vectors)
        names = [""] * len(vectors)  # No item is called so: the bridge places them.
        placed = self._bundle.space.place(names, content.latents(codes), np.ones(len(vectors), bool))
        exclude = [self._published([], one) for one in wanted]
        return self._search(self._catalogue.similarity, unit_vectors(placed.retrieval), exclude, wanted)

    def _published(self, item_ids: Sequence[str], wanted: Wanted) -> NDArray[np.int64]:
        """Return the slots of what a list must not have: ``item_ids`` and what it excludes itself."""
        slots = self._catalogue.slots([*item_ids, *wanted.exclude])
        return slots[slots >= 0]

    def _search(
        self,
        index: LatentIndex,
        queries: NDArray[np.float32],
        exclude: Sequence[NDArray[np.int64]],
        wanted: Sequence[Wanted],
    ) -> list[Ranked]:
        """Search once for each filter among ``wanted``."""
        by_filter: dict[Filter | None, list[int]] = defaultdict(list)
        for row, one in enumerate(wanted):
            by_filter[one.filter].append(row)
        found = [Ranked([], []) for _ in wanted]
        for condition, rows in by_filter.items():
            longest = max(wanted[row].k for row in rows)
            allowed = None if condition is None else self._catalogue.mask(condition)
            scores, slots = index.search(queries[rows], longest, [exclude[row] for row in rows], allowed)
            for row, result in zip(rows, self._ranked(scores, slots), strict=True):
                found[row] = Ranked(result.items[: wanted[row].k], result.scores[: wanted[row].k])
        return found

    def _ranked(self, scores: NDArray[np.float32], slots: NDArray[np.int64]) -> list[Ranked]:
        lists = []
        for row_scores, row_slots in zip(scores, slots, strict=True):
            filled = row_slots >= 0
            rounded = [float(f"{score:.{SCORE_DIGITS}g}") for score in row_scores[filled]]
            lists.append(Ranked(self._catalogue.ids(row_slots[filled]), rounded))
        return lists
