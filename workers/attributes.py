"""What the recommender keeps of the items' attributes, and which items match a filter."""

from __future__ import annotations

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


@dataclass(slots=True)
class _KeptMask:
    """What matched a filter, and the slots that have changed since."""

    mask: NDArray[np.bool_]
    changed: set[int] = field(default_factory=set)


class ItemAttributes:
    """Attributes by slot, as JSON and in columns. Not thread-safe."""

    def __init__(self) -> None:
        self._documents: list[bytes] = []
        self._columns = AttributeColumns()
        # The last used filter is the last.
        self._kept: OrderedDict[Filter, _KeptMask] = OrderedDict()

    def replace(self, slots: NDArray[np.int64], documents: Sequence[bytes]) -> None:
        """Let ``documents[i]`` be the attributes (JSON, empty for none) of ``slots[i]``, each there only once."""
        if not len(slots):
            return
        self._documents += [b""] * (int(slots.max()) + 1 - len(self._documents))
        for slot, document in zip(slots.tolist(), documents, strict=True):
            self._documents[slot] = document
        self._columns.replace(slots, [_decoded(document) for document in documents])
        for condition, kept in list(self._kept.items()):
            kept.changed.update(slots.tolist())
            if len(kept.changed) > _CHANGES_KEPT:
                del self._kept[condition]

    def of(self, slot: int) -> dict[str, Attribute]:
        """Return the attributes of ``slot``."""
        return _decoded(self._documents[slot])

    def mask(self, condition: Filter) -> NDArray[np.bool_]:
        """Return which slots match, bool ``[slots or more]``, not to be written to."""
        kept = self._kept.pop(condition, None)
        if kept is None:
            kept = _KeptMask(self._columns.mask(condition))
        elif kept.changed:
            # A copy, because a search may still read the old one.
            mask = np.zeros(self._columns.size, bool)
            mask[: len(kept.mask)] = kept.mask
            for slot in kept.changed:
                mask[slot] = matches(condition, self.of(slot))
            kept = _KeptMask(mask)
        self._kept[condition] = kept
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
