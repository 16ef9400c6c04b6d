"""Filters over the attributes of items: a small JSON language, and what it means.

``{"genre": "Drama"}`` is equality, and for an attribute that is a list: that it contains the value.
``{"genre": {"in": ["Drama", "War"]}}`` is equality with any of these; ``{"price": {"gte": 1, "lt": 10}}`` is a
range (``gt``, ``gte``, ``lt``, ``lte``). Several members of an object must all match. ``{"and": [...]}``,
``{"or": [...]}`` and ``{"not": {...}}`` combine filters; attributes with these three names cannot be asked for.

A string equals only a string, a boolean only a boolean, a number any number of the same value (as float64).
Ranges are for numbers. An attribute that an item does not have, or has as null, matches nothing; so under
``not`` it does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from schemas.events import Attribute

MAX_FILTER_DEPTH: Final = 16
# Each condition is looked up in all items, and the values of one of them together.
MAX_CONDITIONS: Final = 100
MAX_VALUES: Final = 1000
MAX_FILTER_BYTES: Final = 1 << 16
_COMBINATIONS: Final = ("and", "or", "not")
_BOUNDS: Final = ("gt", "gte", "lt", "lte")


class BadFilter(ValueError):  # noqa: N818 - named after what is wrong, like all errors here
    """What was given is no filter; the message says what is wrong and where."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """The attribute is, or as a list contains, one of the values; a set for each type, because 1 == True."""

    attribute: str
    strings: frozenset[str] = frozenset()
    numbers: frozenset[float] = frozenset()
    booleans: frozenset[bool] = frozenset()


@dataclass(frozen=True, slots=True)
class Range:
    """The attribute is a number from ``low`` to ``high``; each end belongs to it or not."""

    attribute: str
    low: float
    high: float
    includes_low: bool
    includes_high: bool


@dataclass(frozen=True, slots=True)
class And:
    """All of the parts match; without any, everything does."""

    parts: frozenset[Filter]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of the parts matches; without any, nothing does."""

    parts: frozenset[Filter]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not match."""

    part: Filter


# Equal filters that were written differently are equal and have the same hash, wherever that is cheap to see: the
# order and repetition of parts and values does not matter. So a filter is the key of a cache.
Filter: TypeAlias = OneOf | Range | And | Or | Not


def decode_filter(data: bytes | str) -> Filter:
    """Return the filter that JSON text says.

    Raises:
        BadFilter: it is no JSON, or no filter.
    """
    if len(data) > MAX_FILTER_BYTES:
        raise BadFilter(f"a filter has at most {MAX_FILTER_BYTES} bytes, this one has {len(data)}")
    try:
        return parse_filter(msgspec.json.decode(data))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadFilter(f"filter: not JSON: {error}") from error


def parse_filter(document: object) -> Filter:
    """Return the filter that a decoded JSON ``document`` says.

    Raises:
        BadFilter: it is none, or deeper or larger than the limits above.
    """
    return _Parser().filter(document, "filter", 1)


def matches(condition: Filter, attributes: Mapping[str, Attribute]) -> bool:
    """Return whether an item with ``attributes`` matches: this defines what filters mean."""
    match condition:
        case And(parts):
            return all(matches(part, attributes) for part in parts)
        case Or(parts):
            return any(matches(part, attributes) for part in parts)
        case Not(part):
            return not matches(part, attributes)
        case OneOf(name, strings, numbers, booleans):
            value = attributes.get(name)
            if isinstance(value, bool):
                return value in booleans
            if isinstance(value, int | float):
                return as_number(value) in numbers
            return not strings.isdisjoint([value] if isinstance(value, str) else value or [])
        case Range(name, low, high, includes_low, includes_high):
            value = attributes.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                return False
            number = as_number(value)
            return (low < number or (includes_low and low == number)) and (
                number < high or (includes_high and number == high)
            )


def as_number(value: float) -> float:
    """Return ``value`` as float64; an integer that is too large is infinite, so that it is above every bound."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


class _Parser:
    """Reads one document and counts what is in it."""

    def __init__(self) -> None:
        self._conditions = self._values = 0

    def filter(self, document: object, where: str, depth: int) -> Filter:
        if depth > MAX_FILTER_DEPTH:
            raise BadFilter(f"a filter is at most {MAX_FILTER_DEPTH} levels deep, this one is deeper")
        if not isinstance(document, dict):
            raise BadFilter(f'{where}: must be an object such as {{"genre": "Drama"}}, not {_shown(document)}')
        return _all_of([self._member(str(name), value, where, depth) for name, value in document.items()])

    def _member(self, name: str, value: object, where: str, depth: int) -> Filter:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise BadFilter(f"a filter has at most {MAX_CONDITIONS} conditions, this one has more")
        inside = f"{where}.{_cut(name)}"
        if name not in _COMBINATIONS:
            return self._condition(name, value, inside)
        if name == "not":
            part = self.filter(value, inside, depth + 1)
            return part.part if isinstance(part, Not) else Not(part)
        if not isinstance(value, list):
            raise BadFilter(f"{inside}: must be a list of filters, not {_shown(value)}")
        parts = [self.filter(part, f"{inside}[{place}]", depth + 1) for place, part in enumerate(value)]
        return _all_of(parts) if name == "and" else _any_of(parts)

    def _condition(self, attribute: str, value: object, where: str) -> Filter:
        if not isinstance(value, dict):
            if isinstance(value, list):
                raise BadFilter(f'{where}: any of several values is {{"in": [...]}}')
            return self._one_of(attribute, [value], where)
        if not value:
            raise BadFilter(f"{where}: must say something: one of in, {', '.join(_BOUNDS)}")
        parts: list[Filter] = []
        bounds: dict[str, float] = {}
        for operator, operand in value.items():
            inside = f"{where}.{_cut(str(operator))}"
            if operator == "in":
                if not isinstance(operand, list):
                    raise BadFilter(f"{inside}: must be a list of values, not {_shown(operand)}")
                parts.append(self._one_of(attribute, operand, inside))
            elif operator in _BOUNDS:
                bounds[operator] = _finite(operand, inside, "a number")
            else:
                raise BadFilter(f"{inside}: is none of in, {', '.join(_BOUNDS)}")
        if bounds:
            parts.append(_range(attribute, bounds))
        return _all_of(parts)

    def _one_of(self, attribute: str, values: list[object], where: str) -> OneOf:
        strings, numbers, booleans = set(), set(), set()
        self._values += len(values)
        if self._values > MAX_VALUES:
            raise BadFilter(f"a filter has at most {MAX_VALUES} values, this one has more")
        for value in values:
            if isinstance(value, str):
                strings.add(value)
            elif isinstance(value, bool):
                booleans.add(value)
            else:
                numbers.add(_finite(value, where, "a string, a number or a boolean"))
        return OneOf(attribute, frozenset(strings), frozenset(numbers), frozenset(booleans))


def _range(attribute: str, bounds: dict[str, float]) -> Range:
    """Return the range inside of all ``bounds``; of two bounds on one side the narrower counts."""
    low = max(bounds.get("gt", -math.inf), bounds.get("gte", -math.inf))
    high = min(bounds.get("lt", math.inf), bounds.get("lte", math.inf))
    return Range(attribute, low, high, bounds.get("gt") != low, bounds.get("lt") != high)


def _all_of(parts: list[Filter]) -> Filter:
    flat = frozenset[Filter]().union(*(part.parts if isinstance(part, And) else [part] for part in parts))
    return next(iter(flat)) if len(flat) == 1 else And(flat)


def _any_of(parts: list[Filter]) -> Filter:
    flat = frozenset[Filter]().union(*(part.parts if isinstance(part, Or) else [part] for part in parts))
    return next(iter(flat)) if len(flat) == 1 else Or(flat)


def _finite(value: object, where: str, kinds: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadFilter(f"{where}: must be {kinds}, not {_shown(value)}")
    number = as_number(value)
    if not math.isfinite(number):
        raise BadFilter(f"{where}: a number must be finite")
    return number


def _shown(value: object) -> str:
    """Return what a value is, in words of JSON."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{_cut(value)}"'
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case _:
            return "an object"


def _cut(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
