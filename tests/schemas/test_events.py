"""Events: round trips, and every way in which one can be wrong."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable

import msgpack
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import (
    JSON,
    MAX_ID_LENGTH,
    MAX_TIMESTAMP,
    MAX_WEIGHT,
    MSGPACK,
    AnomalyEvent,
    BadEvent,
    Image,
    InteractionEvent,
    InvalidEvent,
    ItemEvent,
    MalformedEvent,
    NonFinite,
    UnknownContentType,
    WrongShape,
    decode_anomaly,
    decode_interaction,
    decode_item,
    encode,
    feature_vector,
)

formats = st.sampled_from([JSON, MSGPACK])
# JSON and MessagePack carry text as UTF-8, which has no lone surrogates.
text = st.text(st.characters(codec="utf-8"))
ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=MAX_ID_LENGTH)
numbers = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(1 << 63), (1 << 64) - 1)
attributes = st.dictionaries(
    text, st.none() | st.booleans() | integers | numbers | text | st.lists(text, max_size=4), max_size=4
)
images = st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([(), (3,)])).flatmap(
    lambda size: st.builds(
        Image,
        shape=st.just([size[0], size[1], *size[2]]),
        data=st.binary(
            min_size=size[0] * size[1] * (3 if size[2] else 1), max_size=size[0] * size[1] * (3 if size[2] else 1)
        ),
    )
)
items = st.one_of(
    st.builds(
        ItemEvent,
        item_id=ids,
        features=st.none() | st.lists(numbers, min_size=1, max_size=8),
        attributes=attributes,
        available=st.booleans(),
    ),
    st.builds(ItemEvent, item_id=ids, image=images, attributes=attributes),
)
interactions = st.builds(
    InteractionEvent,
    user_id=ids,
    item_id=ids,
    kind=st.text(st.characters(codec="utf-8"), min_size=1, max_size=32),
    weight=st.floats(0, MAX_WEIGHT),
    timestamp=st.none() | st.floats(0, MAX_TIMESTAMP),
)

natural = st.integers(0, (1 << 63) - 1)
anomalies = st.builds(
    AnomalyEvent,
    item_id=ids,
    score=st.floats(1, exclude_min=True, allow_infinity=False, width=32),
    error=st.floats(0, allow_infinity=False, width=32),
    model=text,
    topic=text,
    partition=natural,
    offset=natural,
    timestamp=st.floats(0, MAX_TIMESTAMP),
)


@given(items, formats)
def test_items_survive_both_formats(event: ItemEvent, content_type: str) -> None:
    assert decode_item(encode(event, content_type), content_type) == event


@given(interactions, formats)
def test_interactions_survive_both_formats(event: InteractionEvent, content_type: str) -> None:
    assert decode_interaction(encode(event, content_type), content_type) == event


@given(anomalies, formats)
def test_anomalies_survive_both_formats(event: AnomalyEvent, content_type: str) -> None:
    assert decode_anomaly(encode(event, content_type), content_type) == event


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20), formats)
def test_packed_features_are_the_listed_ones(values: list[float], content_type: str) -> None:
    packed = ItemEvent(item_id="a", features=np.array(values, "<f4").tobytes())
    listed = ItemEvent(item_id="a", features=values)
    vectors = [feature_vector(decode_item(encode(event, content_type), content_type)) for event in (packed, listed)]
    assert vectors[0] is not None
    assert vectors[0].dtype == np.float32
    np.testing.assert_array_equal(vectors[0], vectors[1])


def test_bytes_and_pixels_are_scaled_to_one() -> None:
    pixels = bytes([0, 51, 255, 128])
    event = decode_item(encode(ItemEvent(item_id="a", image=Image([2, 2], pixels)), JSON))
    vector = feature_vector(event)
    assert vector is not None
    np.testing.assert_allclose(vector, [0, 0.2, 1, 128 / 255], rtol=1e-6)
    as_features = feature_vector(ItemEvent(item_id="a", features=pixels, dtype="uint8"))
    np.testing.assert_array_equal(as_features, vector)


def test_documented_json_is_read() -> None:
    data = base64.b64encode(struct.pack("<2f", 0.5, -1.0)).decode()
    value = json.dumps(
        {"schema_version": 1, "item_id": "7", "features": data, "dtype": "float32", "attributes": {"price": 3}}
    )
    vector = feature_vector(decode_item(value.encode()))
    assert vector is not None
    assert vector.tolist() == [0.5, -1.0]


def test_item_without_features_has_no_vector() -> None:
    assert feature_vector(decode_item(b'{"item_id": "a"}')) is None


def test_defaults_of_interactions() -> None:
    event = decode_interaction(b'{"user_id": "u", "item_id": "i"}')
    assert (event.kind, event.weight, event.timestamp, event.schema_version) == ("view", 1.0, None, 1)


def _json(**fields: object) -> bytes:
    return json.dumps({"item_id": "a"} | fields).encode()


BAD_ITEMS: dict[str, tuple[bytes, str, type[BadEvent], str]] = {
    "not JSON": (b"\xff\x00", JSON, MalformedEvent, "not JSON"),
    "nothing": (b"", JSON, MalformedEvent, "not JSON"),
    "truncated JSON": (b'{"item_id": "a"', JSON, MalformedEvent, "not JSON"),
    "text that is not UTF-8": (b'{"item_id": "\xff"}', JSON, MalformedEvent, "not JSON"),
    "JSON nested too deep": (b'{"x": ' + b"[" * 100_000, JSON, MalformedEvent, "recursion"),
    "truncated MessagePack": (msgpack.packb({"item_id": "abc"})[:-1], MSGPACK, MalformedEvent, "not MessagePack"),
    "MessagePack with more behind it": (msgpack.packb({"item_id": "a"}) + b"\x00", MSGPACK, MalformedEvent, "not Mess"),
    "another content-type": (b"{}", "text/csv", UnknownContentType, "'text/csv'"),
    "unknown version": (_json(schema_version=2), JSON, InvalidEvent, r"schema_version"),
    "version of a wrong type": (_json(schema_version="1"), JSON, InvalidEvent, r"schema_version"),
    "no id": (b"{}", JSON, InvalidEvent, "item_id"),
    "empty id": (_json(item_id=""), JSON, InvalidEvent, "item_id"),
    "over-long id": (_json(item_id="x" * 257), JSON, InvalidEvent, "item_id"),
    "id of a wrong type": (_json(item_id=7), JSON, InvalidEvent, "item_id"),
    "a list": (b"[]", JSON, InvalidEvent, "object"),
    "text among features": (_json(features=[1.0, "2"]), JSON, InvalidEvent, r"features\[1\]"),
    "no base64": (_json(features="?"), JSON, InvalidEvent, "features"),
    "unknown dtype": (_json(features="AAAA", dtype="int8"), JSON, InvalidEvent, "dtype"),
    "nested attribute": (_json(attributes={"a": {"b": 1}}), JSON, InvalidEvent, "attributes"),
    "features and image": (
        _json(features=[1], image={"shape": [1, 1], "data": "AA=="}),
        JSON,
        InvalidEvent,
        "not both",
    ),
    "image of one dimension": (_json(image={"shape": [1], "data": "AA=="}), JSON, InvalidEvent, "shape"),
    "image of no height": (_json(image={"shape": [0, 1], "data": ""}), JSON, InvalidEvent, "shape"),
    "NaN in an attribute": (
        msgpack.packb({"item_id": "a", "attributes": {"p": float("nan")}}),
        MSGPACK,
        NonFinite,
        "'p'",
    ),
}


@pytest.mark.parametrize("name", BAD_ITEMS)
def test_bad_item_is_refused_with_its_reason(name: str) -> None:
    value, content_type, kind, reason = BAD_ITEMS[name]
    with pytest.raises(kind, match=reason):
        decode_item(value, content_type)


BAD_FEATURES: dict[str, tuple[ItemEvent, type[BadEvent], str]] = {
    "image larger than its bytes": (ItemEvent(item_id="a", image=Image([2, 2], b"abc")), WrongShape, "4 bytes, not 3"),
    "image smaller than its bytes": (ItemEvent(item_id="a", image=Image([1, 2], b"abc")), WrongShape, "2 bytes, not 3"),
    "half a float": (ItemEvent(item_id="a", features=b"\x00" * 6), WrongShape, "6 bytes"),
    "no features": (ItemEvent(item_id="a", features=[]), WrongShape, "empty"),
    "no bytes": (ItemEvent(item_id="a", features=b""), WrongShape, "empty"),
    "NaN": (ItemEvent(item_id="a", features=[0.0, float("nan")]), NonFinite, r"features\[1\] is nan"),
    "infinity": (
        ItemEvent(item_id="a", features=struct.pack("<f", float("-inf"))),
        NonFinite,
        r"features\[0\] is -inf",
    ),
    "too large for float32": (ItemEvent(item_id="a", features=[1e300]), NonFinite, r"features\[0\] is inf"),
}


@pytest.mark.parametrize("name", BAD_FEATURES)
def test_bad_features_are_refused_with_their_reason(name: str) -> None:
    event, kind, reason = BAD_FEATURES[name]
    with pytest.raises(kind, match=reason):
        feature_vector(event)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"user_id": ""}, InvalidEvent),
        ({"kind": ""}, InvalidEvent),
        ({"kind": "k" * 33}, InvalidEvent),
        ({"weight": -1.0}, InvalidEvent),
        ({"weight": 2e6}, InvalidEvent),
        ({"weight": "1"}, InvalidEvent),
        ({"weight": float("inf")}, BadEvent),
        ({"weight": float("nan")}, BadEvent),
        ({"timestamp": float("nan")}, BadEvent),
        # A time in milliseconds.
        ({"timestamp": 1_700_000_000_000.0}, InvalidEvent),
        ({"timestamp": -1.0}, InvalidEvent),
        ({"schema_version": 0}, InvalidEvent),
    ],
)
def test_bad_interaction_is_refused(fields: dict[str, object], kind: type[BadEvent]) -> None:
    with pytest.raises(kind):
        decode_interaction(msgpack.packb({"user_id": "u", "item_id": "i"} | fields), MSGPACK)


def _item_with_vector(value: bytes, content_type: str) -> ItemEvent:
    event = decode_item(value, content_type)
    feature_vector(event)
    return event


def _raises_only_bad_event(value: bytes, content_type: str) -> None:
    decoders: tuple[Callable[[bytes, str], object], ...] = (_item_with_vector, decode_interaction)
    for decode in decoders:
        try:
            event: object = decode(value, content_type)
        except BadEvent as error:
            event = error
        assert isinstance(event, ItemEvent | InteractionEvent | BadEvent)
        assert str(event)


json_values = st.recursive(
    st.none() | st.booleans() | integers | st.floats() | text | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from([*ItemEvent.__struct_fields__, *InteractionEvent.__struct_fields__])
documents = st.dictionaries(fields, json_values, max_size=8).map(lambda found: {"item_id": "a", "user_id": "u"} | found)


@given(
    st.one_of(st.binary(max_size=64), documents.map(msgspec.msgpack.encode), documents.map(msgspec.json.encode)),
    formats,
)
def test_nothing_but_bad_event_is_raised(value: bytes, content_type: str) -> None:
    _raises_only_bad_event(value, content_type)


@given(items, formats, st.data())
def test_damaged_events_raise_nothing_but_bad_event(event: ItemEvent, content_type: str, data: st.DataObject) -> None:
    value = bytearray(encode(event, content_type))
    position = data.draw(st.integers(0, len(value) - 1))
    value[position] = data.draw(st.integers(0, 255))
    _raises_only_bad_event(bytes(value[: data.draw(st.integers(position, len(value)))]), content_type)
