"""Which items train, which validate and which only test: decided by their ids, so that anybody can tell."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from models.arrays import Ints

_VALIDATION_SHARE: Final = 0.1
_TEST_SHARE: Final = 0.05


class Split(NamedTuple):
    """Rows of each part, in ascending order; none is empty."""

    training: Ints
    validation: Ints
    test: Ints


def split_items(ids: Sequence[str]) -> Split:
    """Return the split of three or more items.

    The twentieth of the ids with the smallest CRC-32 tests, the tenth after that validates. Which other items
    there are moves only the borders.

    Raises:
        ValueError: there are fewer than three items.
    """
    count = len(ids)
    if count < 3:
        raise ValueError(f"{count} items cannot be split into training, validation and test")
    order = np.lexsort((np.arange(count), np.array([zlib.crc32(name.encode()) for name in ids])))
    test = max(1, int(count * _TEST_SHARE))
    held = test + max(1, int(count * _VALIDATION_SHARE))
    return Split(np.sort(order[held:]), np.sort(order[test:held]), np.sort(order[:test]))
