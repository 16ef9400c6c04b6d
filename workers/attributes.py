"""What the recommender keeps of the items' attributes, and which items match a filter."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from models.attributes import AttributeColumns
from schemas.events import Attribute
from schemas.filters import Filter, matches

log = structlog.get_logger()

# A mask takes a byte an item.
MASKS_KEPT: Final = 64
# With so many changed slots a mask is made anew as fast.
_CHANGES_KEPT: Final = 1000
_DECODER: Final = msgspec.json.Decoder(dict[str, Attribute])
_NONE: Final[dict[str, Attribute]] = {}


@dataclass(slots=True, eq=False)
class _KeptMask:
    """What matched a filter, and the slots that have changed since."""

    mask: NDArray[np.bool_]
    changed: set[int] = field(default_factory=set)


class ItemAttributes:
    """Attributes by slot, as JSON and in columns. Its callers hold ``lock``, but for :meth:`mask`."""

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._documents: list[bytes] = []
        self._columns = AttributeColumns()
        # The last used filter is the last.
        self._kept: OrderedDict[Filter, _KeptMask] = OrderedDict()
        self._making: list[_KeptMask] = []

    def replace(self, slots: NDArray[np.int64], documents: Sequence[bytes]) -> None:
        """Let ``documents[i]`` be the attributes (JSON, empty for none) of ``slots[i]``, each there only once."""
        if not len(slots):
            return
        self._documents += [b""] * (int(slots.max()) + 1 - len(self._documents))
        for slot, document in zip(slots.tolist(), documents, strict=True):
            self._documents[slot] = document
        self._columns.replace(slots, [_decoded(document) if document else _NONE for document in documents])
        for made in self._making:
            made.changed.update(slots.tolist())
        for condition, kept in list(self._kept.items()):
            kept.changed.update(slots.tolist())
            if len(kept.changed) > _CHANGES_KEPT:
                del self._kept[condition]

    def of(self, slot: int) -> dict[str, Attribute]:
        """Return the attributes of ``slot``; none of one that was never replaced."""
        return _decoded(self._documents[slot]) if slot < len(self._documents) else {}

    def mask(self, condition: Filter) -> NDArray[np.bool_]:
        """Return which slots match, bool ``[slots or more]``, not to be written to.

        Of a new filter, call it without the lock: many conditions take seconds in a large catalogue, and the lock is
        held for one at a time.
        """
        with self._lock:
            kept = self._kept.get(condition)
            if kept is not None:
                return self._current(condition, kept)
            made = _KeptMask(np.zeros(0, bool))
            self._making.append(made)
        try:
            made.mask = self._columns.mask(condition, self._lock)
            with self._lock:
                return self._current(condition, made)
        finally:
            with self._lock:
                self._making.remove(made)

    def _current(self, condition: Filter, kept: _KeptMask) -> NDArray[np.bool_]:
        """Return the mask as of now, and keep it as the one that was used last."""
        if kept.changed:
            # A copy, because a search may still read the old one.
            mask = np.zeros(self._columns.size, bool)
            mask[: len(kept.mask)] = kept.mask
            for slot in kept.changed:
                mask[slot] = matches(condition, self.of(slot))
            kept = _KeptMask(mask)
        self._kept[condition] = kept
        self._kept.move_to_end(condition)
        if len(self._kept) > MASKS_KEPT:
            self._kept.popitem(last=False)
        return kept.mask


def _decoded(document: bytes) -> dict[str, Attribute]:
    if not document:
        return {}
    try:
        return _DECODER.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        log.error("attributes_damaged", reason=str(error))
        return {}
