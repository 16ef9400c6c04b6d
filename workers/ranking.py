"""From histories to ranked lists: the one path by which anything is recommended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from workers.catalogue import Catalogue, unit_vectors

# A float32 score has about 7 digits; 6 are enough to order by and shorter to store.
SCORE_DIGITS = 6


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

    def for_histories(self, histories: Sequence[Sequence[tuple[str, float]]], k: int) -> list[Ranked]:
        """Return the top ``k`` for each history of (item id, weight), without the items of the history."""
        ranked = [Ranked([], []) for _ in histories]
        bags, known = self._catalogue.bags(histories)
        rows = np.flatnonzero(known).tolist()
        if not rows:
            return ranked
        users = self._bundle.space.user_codes(bags[rows])
        codes = self._bundle.user_codec.encode(users)
        queries = np.hstack([users, np.ones((len(rows), 1), np.float32)])
        exclude = [self._published([item for item, _ in histories[row]]) for row in rows]
        found = self._ranked(*self._catalogue.retrieval.search(queries, k, exclude))
        for row, result, code in zip(rows, found, codes, strict=True):
            ranked[row] = Ranked(result.items, result.scores, code.tobytes())
        return ranked

    def similar(self, item_ids: Sequence[str], k: int) -> list[Ranked]:
        """Return the ``k`` items nearest to each of ``item_ids``, which must be known (not: available)."""
        vectors = self._catalogue.unit_vectors(item_ids)
        slots = self._catalogue.slots(item_ids)
        own = [slots[n : n + 1] for n in range(len(slots))]
        return self._ranked(*self._catalogue.similarity.search(vectors, k, own))

    def near(self, vectors: NDArray[np.float32], k: int) -> list[Ranked]:
        """Return the ``k`` items nearest to raw feature vectors, float32 ``[n, input_dim]``."""
        content = self._bundle.content
        if content is None:
            raise ValueError("the model has no content part: it cannot encode features")
        codes = content.codes(vectors)
        names = [""] * len(vectors)  # No item is called so: the bridge places them.
        placed = self._bundle.space.place(names, content.latents(codes), np.ones(len(vectors), bool))
        return self._ranked(*self._catalogue.similarity.search(unit_vectors(placed.retrieval), k))

    def _published(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        slots = self._catalogue.slots(item_ids)
        return slots[slots >= 0]

    def _ranked(self, scores: NDArray[np.float32], slots: NDArray[np.int64]) -> list[Ranked]:
        lists = []
        for row_scores, row_slots in zip(scores, slots, strict=True):
            filled = row_slots >= 0
            rounded = [float(f"{score:.{SCORE_DIGITS}g}") for score in row_scores[filled]]
            lists.append(Ranked(self._catalogue.ids(row_slots[filled]), rounded))
        return lists
