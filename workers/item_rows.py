"""What the recommender keeps of each item under one model, in arrays by slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workers.item_ids import ItemIds, grown

_FIRST_CAPACITY: Final = 1024


class ItemRows:
    """Columns of items. Its callers hold a lock.

    All columns have a row for each slot that :meth:`find` and :meth:`assign` return, whoever gave it to the id.

    Args:
        ids: which slot each id has; other models may share it.
        embedding_dim: width of an input embedding.
        record_bytes: bytes of a code record with a code.
    """

    def __init__(self, ids: ItemIds, embedding_dim: int, record_bytes: int) -> None:
        self.ids = ids
        self.known = np.zeros(_FIRST_CAPACITY, np.bool_)
        self.servable = np.zeros(_FIRST_CAPACITY, np.bool_)
        self.embeddings = np.zeros((_FIRST_CAPACITY, embedding_dim), np.float32)
        self.partitions = np.zeros(_FIRST_CAPACITY, np.int32)
        # Code records, and which of them have a code: the others are shorter.
        self.records = np.zeros((_FIRST_CAPACITY, record_bytes), np.uint8)
        self.coded = np.zeros(_FIRST_CAPACITY, np.bool_)

    def find(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Return the slot of each id, -1 where it has none."""
        slots = self.ids.find(names)
        self._make_room()
        return slots

    def assign(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Return the slot of each id, a new one where it has none. No id is there twice."""
        slots = self.ids.assign(names)
        self._make_room()
        return slots

    def _make_room(self) -> None:
        slots = len(self.ids)
        if slots > len(self.known):
            self.known = grown(self.known, slots)
            self.servable = grown(self.servable, slots)
            self.embeddings = grown(self.embeddings, slots)
            self.partitions = grown(self.partitions, slots)
            self.records = grown(self.records, slots)
            self.coded = grown(self.coded, slots)
