"""Attributes of items in columns, so that a filter is looked up in a million items at once.

A column has *entries*: a slot and a value, one for each string, boolean or number that an item has under the
column's name. What an item had before is not searched for and removed; its entries are stale, as they carry an
older stamp than the slot, and are swept out when they are many. Memory follows the number of values, not names
times items: a name that few items have costs little.

Strings and booleans are kept as Python's 64-bit hash of name and value, whose key nobody knows: two of them that
differ are taken for the same once in 2^64.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.arrays import Ints, Mask
from schemas.events import Attribute
from schemas.filters import And, Filter, Not, OneOf, Or, Range, as_number

# So many names have a column of their own; the entries of all others lie together, and take longer to search.
_COLUMNS: Final = 256
# So few stale entries are never swept out.
_STALE: Final = 100_000
# So many values are compared one by one.
_COMPARED: Final = 16

_Number = TypeVar("_Number", bound=np.generic)


class AttributeColumns:
    """The attributes of each slot: non-negative integers, best dense (memory follows the largest)."""

    def __init__(self) -> None:
        self._stamps = np.zeros(0, np.uint32)  # of each slot: changes with its attributes
        self._own: dict[str, _Column] = {}
        self._shared = _Column()
        self._swept = 0
        self._appended = 0

    @property
    def size(self) -> int:
        """Return the length of masks: larger than each slot."""
        return len(self._stamps)

    def replace(self, slots: Ints, attributes: Sequence[Mapping[str, Attribute]]) -> None:
        """Let ``attributes[i]`` be all attributes of ``slots[i]``, each of which is there only once."""
        if not len(slots):
            return
        missing = int(slots.max()) + 1 - len(self._stamps)
        if missing > 0:
            self._stamps = np.concatenate([self._stamps, np.zeros(max(missing, len(self._stamps)), np.uint32)])
        self._stamps[slots] += np.uint32(1)
        added: defaultdict[str, _Added] = defaultdict(_Added)
        for slot, own in zip(slots.tolist(), attributes, strict=True):
            for name, value in own.items():
                if value is not None:
                    added[name].add(slot, name, value)
        for name, entries in added.items():
            self._appended += self._column(name).append(name, entries, self._stamps)
        if self._appended > self._swept + _STALE:
            self._sweep()

    def mask(self, condition: Filter, guard: AbstractContextManager[object] | None = None) -> Mask:
        """Return which slots match, bool ``[size]``; of slots without attributes those that match with none.

        With a ``guard`` each condition is looked up inside of it and the guard left between them, so that others need
        not wait for all: what is replaced meanwhile is looked at as it was or as it is.
        """
        return self._mask(condition, self.size, guard or nullcontext())

    def _mask(self, condition: Filter, size: int, guard: AbstractContextManager[object]) -> Mask:
        match condition:
            case And(parts):
                return self._combined(np.logical_and, parts, np.ones(size, np.bool_), guard)
            case Or(parts):
                return self._combined(np.logical_or, parts, np.zeros(size, np.bool_), guard)
            case Not(part):
                return ~self._mask(part, size, guard)
            case OneOf() | Range():
                with guard:
                    found = self._nothing()
                    # A name may have entries in both places: it had no column of its own at first.
                    for column in (self._own.get(condition.attribute), self._shared):
                        if column is not None:
                            column.mark(condition, self._stamps, found)
                return found[:size]

    def _combined(
        self, combine: np.ufunc, parts: frozenset[Filter], found: Mask, guard: AbstractContextManager[object]
    ) -> Mask:
        for part in parts:
            combine(found, self._mask(part, len(found), guard), out=found)
        return found

    def _nothing(self) -> Mask:
        return np.zeros(len(self._stamps), np.bool_)

    def _column(self, name: str) -> _Column:
        column = self._own.get(name)
        if column is None:
            if len(self._own) >= _COLUMNS:
                return self._shared
            column = self._own[name] = _Column()
        return column

    def _sweep(self) -> None:
        """Forget stale entries, and columns that have no others."""
        for column in (*self._own.values(), self._shared):
            column.sweep(self._stamps)
        self._own = {name: column for name, column in self._own.items() if len(column)}
        self._swept = len(self._shared) + sum(map(len, self._own.values()))
        self._appended = 0


class _Added:
    """New entries of one name."""

    def __init__(self) -> None:
        self.tag_slots: list[int] = []
        self.tags: list[int] = []
        self.number_slots: list[int] = []
        self.numbers: list[float] = []

    def add(self, slot: int, name: str, value: str | int | float | bool | list[str]) -> None:
        if isinstance(value, int | float) and not isinstance(value, bool):
            self.number_slots.append(slot)
            self.numbers.append(as_number(value))
            return
        for tag in value if isinstance(value, list) else [value]:
            self.tag_slots.append(slot)
            self.tags.append(_tag(name, tag))


class _Column:
    """The entries of one name, or of many."""

    def __init__(self) -> None:
        self._tags = _Entries(np.int64)
        self._numbers = _Entries(np.float64)
        self._names = _Growing(np.int64)  # the tag of the name of each number

    def __len__(self) -> int:
        return len(self._tags) + len(self._numbers)

    def append(self, name: str, added: _Added, stamps: NDArray[np.uint32]) -> int:
        """Append entries of ``name`` and return how many they are."""
        self._tags.append(added.tag_slots, added.tags, stamps)
        self._numbers.append(added.number_slots, added.numbers, stamps)
        self._names.append(np.full(len(added.numbers), _tag(name, ""), np.int64))
        return len(added.tags) + len(added.numbers)

    def mark(self, condition: OneOf | Range, stamps: NDArray[np.uint32], found: Mask) -> None:
        """Set ``found`` where a slot has an entry that matches."""
        numbers = self._numbers.values.view
        match condition:
            case OneOf(name, strings, wanted, booleans):
                tags = np.sort([*(_tag(name, one) for one in strings), *(_tag(name, one) for one in booleans)])
                self._tags.mark(_among(self._tags.values.view, tags), stamps, found)
                chosen = _among(numbers, np.array(sorted(wanted), np.float64))
            case Range(name, low, high, includes_low, includes_high):
                chosen = numbers >= low if includes_low else numbers > low
                chosen &= numbers <= high if includes_high else numbers < high
        self._numbers.mark(chosen & (self._names.view == _tag(name, "")), stamps, found)

    def sweep(self, stamps: NDArray[np.uint32]) -> None:
        """Forget stale entries."""
        self._tags.keep(self._tags.current(stamps))
        current = self._numbers.current(stamps)
        self._numbers.keep(current)
        self._names.keep(current)


class _Growing(Generic[_Number]):
    """A vector that is appended to."""

    def __init__(self, dtype: type[_Number]) -> None:
        self._values: NDArray[_Number] = np.empty(0, dtype)
        self._size = 0

    @property
    def view(self) -> NDArray[_Number]:
        return self._values[: self._size]

    def append(self, values: NDArray[_Number]) -> None:
        size = self._size + len(values)
        if size > len(self._values):
            grown = np.empty(max(size, 2 * self._size), self._values.dtype)
            grown[: self._size] = self.view
            self._values = grown
        self._values[self._size : size] = values
        self._size = size

    def keep(self, chosen: Mask) -> None:
        self._values = self.view[chosen]
        self._size = len(self._values)


class _Entries(Generic[_Number]):
    """Slots, the stamps that they had then, and values."""

    def __init__(self, dtype: type[_Number]) -> None:
        self._slots = _Growing(np.int32)
        self._stamps = _Growing(np.uint32)
        self._dtype = dtype
        self.values = _Growing(dtype)

    def __len__(self) -> int:
        return len(self._slots.view)

    def append(self, slots: list[int], values: Sequence[Any], stamps: NDArray[np.uint32]) -> None:
        self._slots.append(np.array(slots, np.int32))
        self._stamps.append(stamps[np.array(slots, np.int64)])
        self.values.append(np.array(values, self._dtype))

    def mark(self, chosen: Mask, stamps: NDArray[np.uint32], found: Mask) -> None:
        """Set ``found`` for the slots of the chosen entries that are not stale."""
        places = np.flatnonzero(chosen)
        slots = self._slots.view[places]
        found[slots[self._stamps.view[places] == stamps[slots]]] = True

    def current(self, stamps: NDArray[np.uint32]) -> Mask:
        """Return which entries are not stale."""
        current: Mask = self._stamps.view == stamps[self._slots.view]
        return current

    def keep(self, chosen: Mask) -> None:
        self._slots.keep(chosen)
        self._stamps.keep(chosen)
        self.values.keep(chosen)


def _tag(name: str, value: str | bool) -> int:
    # With the type, because False and the empty string have the same hash.
    return hash((name, value, type(value) is bool))


def _among(values: NDArray[Any], wanted: NDArray[Any]) -> Mask:
    """Return which of ``values`` are among ``wanted``, which are sorted and may be none."""
    if len(wanted) <= _COMPARED:
        found = np.zeros(len(values), np.bool_)
        for one in wanted:
            found |= values == one
        return found
    places = np.searchsorted(wanted[:-1], values)
    among: Mask = wanted[places] == values
    return among
