"""What trains, what validates and what only tests.

Items are divided by their ids, so that anybody can tell; interactions by time, because what comes later is what a
model is for.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from models.arrays import Doubles, Ints

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


def split_time(timestamps: Doubles, share: float, not_before: float | None, least: int) -> float | None:
    """Return the time up to which interactions train; those after it, about the last ``share`` of all, test.

    It is not before ``not_before``, up to which a model that is tested as well was trained, unless that leaves fewer
    than ``least``. None where fewer than that are later than others.
    """
    if not len(timestamps):
        return None
    until = float(np.quantile(timestamps, 1 - share, method="lower"))
    if not_before is not None and np.count_nonzero(timestamps > max(until, not_before)) >= least:
        until = max(until, not_before)
    return until if np.count_nonzero(timestamps > until) >= least else None
