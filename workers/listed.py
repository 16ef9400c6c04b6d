"""What stands in the lists of a partition's users: who has an item, and what a user saw before an interaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.documents import Recommendations
from workers.catalogue import Catalogue

# Rows are allotted in blocks, so that growing copies nothing and a scan needs little memory beside them.
BLOCK_ROWS: Final = 8192


@dataclass(slots=True)
class Affected:
    """Users of a partition whose lists have an item that is gone, first come first served."""

    cut: dict[str, None] = field(default_factory=dict)
    renew: dict[str, None] = field(default_factory=dict)

    def add(self, users: Sequence[str], renewed_at_a_time: int) -> None:
        """Queue ``users`` whose lists are to be made anew, and first cut where they are many."""
        self.renew |= dict.fromkeys(users)
        if len(self.renew) > renewed_at_a_time:
            self.cut |= dict.fromkeys(users)


class Standing(NamedTuple):
    """One list: its items as slots, best first (int32, filled up with -1), and where it comes from."""

    slots: NDArray[np.int32]
    generated_at: float
    model: str
    source: str


class Listed:
    """The lists of the users of one partition, of each profile.

    A user takes 4 bytes for each place in each list, 10 more for each list, and about 200 for the id: some
    400 MB for a million users with lists of 50. Items are slots of ``catalogue``.
    """

    def __init__(self, lengths: Mapping[str, int], catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._rows: dict[str, int] = {}
        self._users: list[str] = []
        self._tables = {profile: _Table(length) for profile, length in lengths.items()}

    def unknown(self, users: Iterable[str]) -> list[str]:
        """Return those of ``users`` of whom it is not known what stands in their lists."""
        return [user for user in users if user not in self._rows]

    def put(self, profile: str, lists: Mapping[str, Recommendations | None]) -> None:
        """Note what stands in the lists of some users; None: there is no such list."""
        if not lists:
            return
        rows = np.fromiter((self._row(user) for user in lists), np.int64, len(lists))
        items = [document.items if document else [] for document in lists.values()]
        slots = self._catalogue.slots([name for names in items for name in names]).astype(np.int32)
        self._tables[profile].put(rows, items, slots, list(lists.values()))

    def find(self, profile: str, user: str) -> Standing | None:
        """Return the list of a user, None where there is none or nothing is known of it."""
        row = self._rows.get(user)
        return None if row is None else self._tables[profile].find(row)

    def holders(self, slots: NDArray[np.int64]) -> list[str]:
        """Return the users who have any of ``slots`` in any list."""
        rows = [table.holders(slots) for table in self._tables.values()]
        return [self._users[row] for row in np.unique(np.concatenate(rows))]

    def block(self, profile: str, model: str, number: int) -> NDArray[np.int32] | None:
        """Return the lists that ``model`` made in one block of rows, int32 ``[n, length]``; None after the last."""
        return self._tables[profile].block(model, number)

    def __len__(self) -> int:
        return len(self._rows)

    def _row(self, user: str) -> int:
        row = self._rows.setdefault(user, len(self._users))
        if row == len(self._users):
            self._users.append(user)
        return row


class _Table:
    """The lists of one profile: a row for each user."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._blocks: list[_Block] = []
        # What a row's label stands for; 0 is: no list.
        self._labels: list[tuple[str, str]] = [("", "")]

    def put(
        self,
        rows: NDArray[np.int64],
        items: Sequence[Sequence[str]],
        slots: NDArray[np.int32],
        documents: Sequence[Recommendations | None],
    ) -> None:
        start = 0
        for row, names, document in zip(rows.tolist(), items, documents, strict=True):
            block, place = self._at(row)
            found = slots[start : start + len(names)][: self._length]
            start += len(names)
            block.slots[place, : len(found)] = found
            block.slots[place, len(found) :] = -1
            block.generated_at[place] = document.generated_at if document else 0.0
            block.labels[place] = self._label(document) if document else 0

    def find(self, row: int) -> Standing | None:
        if row >= len(self._blocks) * BLOCK_ROWS:
            return None
        block, place = self._at(row)
        label = block.labels[place]
        return Standing(block.slots[place], float(block.generated_at[place]), *self._labels[label]) if label else None

    def holders(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        found = [np.empty(0, np.int64)]
        wanted = slots.astype(np.int32)
        for number, block in enumerate(self._blocks):
            here = np.isin(block.slots, wanted).any(axis=1)
            found.append(np.flatnonzero(here) + number * BLOCK_ROWS)
        return np.concatenate(found)

    def block(self, model: str, number: int) -> NDArray[np.int32] | None:
        if number >= len(self._blocks):
            return None
        labels = [label for label, (made_by, _) in enumerate(self._labels) if label and made_by == model]
        block = self._blocks[number]
        return block.slots[np.isin(block.labels, labels)]

    def _at(self, row: int) -> tuple[_Block, int]:
        number, place = divmod(row, BLOCK_ROWS)
        while number >= len(self._blocks):
            self._blocks.append(_Block(self._length))
        return self._blocks[number], place

    def _label(self, document: Recommendations) -> int:
        label = (document.model, document.source)
        if label not in self._labels:
            self._labels.append(label)
        return self._labels.index(label)


class _Block:
    def __init__(self, length: int) -> None:
        self.slots = np.full((BLOCK_ROWS, length), -1, np.int32)
        self.generated_at = np.zeros(BLOCK_ROWS)
        self.labels = np.zeros(BLOCK_ROWS, np.int16)


def standing(document: Recommendations | None, catalogue: Catalogue) -> Standing | None:
    """Return a list as it is compared with, None for none."""
    if document is None:
        return None
    slots = catalogue.slots(document.items).astype(np.int32)
    return Standing(slots, document.generated_at, document.model, document.source)


def take(users: dict[str, None], size: int) -> list[str]:
    """Remove and return the first ``size`` of ``users``."""
    names = list(islice(users, size))
    for name in names:
        del users[name]
    return names
