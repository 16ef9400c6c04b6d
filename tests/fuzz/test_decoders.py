"""What reads bytes from outside, given events that are a little, or altogether, wrong."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import FIELDS, TARGETS

# What has been trouble somewhere: put in place of, or between, what is right.
SNIPPETS = (
    b"1e999",
    b"-1e-999999999",
    b"1" * 5000,
    b"0." + b"3" * 5000,
    b"-0",
    b"NaN",
    b"null",
    b"\\ud800",
    b"\\udfff x",
    b"\\u0000",
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    "\u202e\U0010ffff".encode(),
    b"x" * 300,
    b"[" * 5000,
    b'{"a":' * 5000,
    b"\x91" * 5000,
    b"\x81\xa1a" * 3000,
    b'"item_id": "z", ',
    b'"features": [], ',
    b"\xd4\x05a",
    b"\xd6\xff\x00\x00\x00\x01",
    b"\xdb\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
)


@st.composite
def mutated(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """Return one of ``seeds`` with some edits."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 12))
        piece = draw(st.one_of(st.sampled_from(SNIPPETS), st.binary(max_size=4), st.just(data[at : at + length])))
        kept = draw(st.sampled_from((at, at + length, len(data))))
        data = data[:at] + piece + data[kept:]
    return data


# As JSON and MessagePack have them, with what only one of them has.
text = st.text(max_size=8) | st.sampled_from(["\ud800", "\x00", "x" * 257, "item_id", "user_id", "é" * 256])
numbers = st.integers(-(2**64), 2**64) | st.floats() | st.just(10**400)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from(FIELDS)
documents = st.dictionaries(fields, values, max_size=8)
packable: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.binary(max_size=16)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=8))
    | st.builds(msgpack.Timestamp, st.integers(-(2**63), 2**63 - 1), st.integers(0, 999_999_999)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.integers(0, 9) | st.binary(max_size=3) | fields, inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_events_with_edits(name: str, data: st.DataObject) -> None:
    TARGETS[name].run(data.draw(mutated(TARGETS[name].seeds)))


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=60, deadline=None)
@given(document=documents | values)
def test_json_of_any_shape(name: str, document: Any) -> None:
    written = json.dumps(document).encode()
    TARGETS[name].run(written)
    TARGETS[name].run(b"\x01" + written)


@pytest.mark.parametrize("name", ["item", "interaction", "anomaly", "records"])
@settings(max_examples=60, deadline=None)
@given(document=st.dictionaries(fields, packable, max_size=8) | packable)
@example({"item_id": "a", "attributes": {"x": msgpack.Timestamp(1, 1)}})
@example({"item_id": "a", "attributes": {1: 2}})
def test_messagepack_of_any_shape(name: str, document: Any) -> None:
    written = msgpack.packb(document)
    TARGETS[name].run(b"\x81" + written)
    TARGETS[name].run(b"\x82" + written)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("depth", [10, 1000, 100_000])
def test_deep_nesting(name: str, depth: int) -> None:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}"), (b'{"not":', b"}"), (b'{"and":[', b"]}")):
        inside = opening * depth + b"1" + closing * depth
        for seed in (inside, b'{"item_id": "a", "other": ' + inside + b"}", b'{"filter": ' + inside + b"}"):
            TARGETS[name].run(b"\x01" + seed)
            TARGETS[name].run(seed)
    TARGETS[name].run(b"\x81" + b"\x91" * depth)
    TARGETS[name].run(b"\x81\x81\xa1a" + b"\x81\xa1a" * depth)


def test_seeds_are_accepted() -> None:
    """Otherwise the mutations would begin from what is refused at the first byte."""
    from schemas.events import decode_interaction, decode_item
    from schemas.filters import decode_filter
    from workers.query_rules import decode_request

    assert decode_item(TARGETS["item"].seeds[0][1:]).item_id == "a"
    assert decode_interaction(TARGETS["interaction"].seeds[0][1:]).user_id == "4"
    assert [decode_filter(seed) for seed in TARGETS["filters"].seeds]
    assert [decode_request(seed).id for seed in TARGETS["query"].seeds] == ["q1", "q3", "q2", "q7", "q5"]
