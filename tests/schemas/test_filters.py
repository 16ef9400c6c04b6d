from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Attribute
from schemas.filters import (
    MAX_CONDITIONS,
    MAX_FILTER_BYTES,
    MAX_FILTER_DEPTH,
    MAX_VALUES,
    BadFilter,
    decode_filter,
    matches,
    parse_filter,
)

FILM: dict[str, Attribute] = {
    "title": "Alien",
    "genres": ["Horror", "Sci-Fi"],
    "year": 1979,
    "price": 4.5,
    "colour": True,
    "sequel_of": None,
    "empty": [],
    "votes": 10**400,
    "zero": 0,
    "blank": "",
}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, True),
        ({"title": "Alien"}, True),
        ({"title": "alien"}, False),
        ({"genres": "Horror"}, True),
        ({"genres": "Drama"}, False),
        ({"genres": {"in": ["Drama", "Sci-Fi"]}}, True),
        ({"empty": ""}, False),
        ({"year": 1979}, True),
        ({"year": 1979.0}, True),
        ({"year": "1979"}, False),
        ({"colour": True}, True),
        ({"colour": 1}, False),
        ({"zero": 0}, True),
        ({"zero": False}, False),
        ({"zero": {"in": [False, ""]}}, False),
        ({"blank": ""}, True),
        ({"blank": False}, False),
        ({"year": {"in": ["1979", 1979]}}, True),
        ({"year": {"in": []}}, False),
        ({"price": {"gte": 4.5, "lt": 5}}, True),
        ({"price": {"gt": 4.5}}, False),
        ({"price": {"lte": 4.5, "lt": 4.5}}, False),
        ({"price": {"gt": 1, "gte": 4.5}}, True),
        ({"price": {"in": [4.5, 5], "lt": 4.5}}, False),
        ({"votes": {"gt": 1e308}}, True),
        ({"colour": {"gte": 0}}, False),
        ({"title": {"gte": 0}}, False),
        ({"missing": "x"}, False),
        ({"sequel_of": {"lt": 3}}, False),
        ({"not": {"missing": "x"}}, True),
        ({"not": {"sequel_of": "x"}}, True),
        ({"title": "Alien", "year": 1980}, False),
        ({"and": [{"title": "Alien"}, {"year": 1979}], "colour": True}, True),
        ({"or": [{"title": "Aliens"}, {"year": 1979}]}, True),
        ({"and": []}, True),
        ({"or": []}, False),
        ({"not": {"not": {"title": "Alien"}}}, True),
        ({"not": {}}, False),
    ],
)
def test_meaning(document: dict[str, Any], expected: bool) -> None:
    assert matches(parse_filter(document), FILM) == expected
    assert matches(parse_filter({"not": document}), FILM) != expected


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (None, "filter: must be an object"),
        ([{"a": 1}], "filter: must be an object .* not a list"),
        ({"a": None}, "filter.a: must be a string, a number or a boolean, not null"),
        ({"a": [1]}, 'filter.a: any of several values is {"in"'),
        ({"a": {}}, "filter.a: must say something"),
        ({"a": {"in": "x"}}, 'filter.a.in: must be a list of values, not "x"'),
        ({"a": {"in": [1, [2]]}}, "filter.a.in: must be a string, a number or a boolean, not a list"),
        ({"a": {"gt": "x"}}, 'filter.a.gt: must be a number, not "x"'),
        ({"a": {"lt": True}}, "filter.a.lt: must be a number, not true"),
        ({"a": {"lt": 10**400}}, "filter.a.lt: a number must be finite"),
        ({"a": {"like": "x"}}, "filter.a.like: is none of in, gt, gte, lt, lte"),
        ({"and": {"a": 1}}, "filter.and: must be a list of filters, not an object"),
        ({"or": [{"a": 1}, 3]}, r"filter.or\[1\]: must be an object .* not a number"),
        ({"not": [{"a": 1}]}, "filter.not: must be an object .* not a list"),
        ({"not": {"or": [{"b": {"gte": None}}]}}, r"filter.not.or\[0\].b.gte: must be a number, not null"),
    ],
)
def test_what_is_wrong_and_where(document: object, message: str) -> None:
    with pytest.raises(BadFilter, match=message):
        parse_filter(document)


def test_hostile_filters_are_refused_by_their_size() -> None:
    deep: dict[str, Any] = {"a": 1}
    for _ in range(MAX_FILTER_DEPTH):
        deep = {"not": deep}
    with pytest.raises(BadFilter, match="levels deep"):
        parse_filter(deep)
    assert parse_filter(deep["not"])
    with pytest.raises(BadFilter, match="conditions"):
        parse_filter({str(n): n for n in range(MAX_CONDITIONS + 1)})
    with pytest.raises(BadFilter, match="values"):
        parse_filter({"a": {"in": list(range(600))}, "b": {"in": list(range(MAX_VALUES - 599))}})
    with pytest.raises(BadFilter, match="bytes"):
        decode_filter(" " * (MAX_FILTER_BYTES + 1))
    for text in ("", "{", "[" * 50_000, b"\xff", '{"a": NaN}', "\udc80"):
        with pytest.raises(BadFilter, match="not JSON"):
            decode_filter(text)


def test_filters_that_say_the_same_are_one_key() -> None:
    first = {"a": {"in": [1, "x", True]}, "or": [{"b": 1}, {"c": {"gt": 1, "lte": 5}}]}
    second = {"and": [{"or": [{"c": {"lte": 5.0, "gt": 1.0}}, {"b": 1.0}]}, {"a": {"in": [True, "x", 1.0, "x"]}}]}
    assert len({parse_filter(first), parse_filter(second)}) == 1
    different: list[object] = [
        {"a": 1},
        {"a": True},
        {"a": "1"},
        {"b": 1},
        {"not": {"a": 1}},
        {"a": {"gte": 1, "lte": 1}},
    ]
    assert len({parse_filter(document) for document in different}) == len(different)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["and", "or", "not", "in", "gt", "a"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(json_values)
def test_anything_is_a_filter_or_a_bad_one(document: object) -> None:
    try:
        condition = parse_filter(document)
    except BadFilter:
        return
    assert matches(condition, FILM) in (True, False)
    assert decode_filter(msgspec.json.encode(document)) == condition
