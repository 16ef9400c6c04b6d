"""What reads bytes from outside: each target takes any bytes, and fails where it raises what it does not document.

A target also holds what it accepted to be true, so that a wrong answer is found as well as an exception.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec
import numpy as np
from kafka.consumer.fetcher import ConsumerRecord
from rich.console import Console

from models.attributes import AttributeColumns
from schemas.documents import MAX_K, ListQuery, QueryReply
from schemas.events import (
    CONTENT_TYPE_HEADER,
    JSON,
    MAX_ID_LENGTH,
    MAX_TIMESTAMP,
    MAX_WEIGHT,
    MSGPACK,
    Attribute,
    BadEvent,
    ItemEvent,
    decode_anomaly,
    decode_item,
    encode,
)
from schemas.filters import BadFilter, decode_filter, matches
from schemas.records import CodeRecord, LogEntry, pack_history, unpack_history
from schemas.settings import RecommendSettings
from workers.cli import terminal
from workers.dead_letters import HEADER_REPLAYED, HEADERS
from workers.decoding import interaction_decoder, item_decoder
from workers.letters import read_letter
from workers.overtaken import first_place
from workers.profiles import all_profiles
from workers.query_rules import BadQuery, decode_request, wanted_by
from workers.query_stream import address

MAX_BYTES: Final = 1 << 20
# fmt: off
FIELDS: Final = (
    "item_id", "user_id", "features", "dtype", "image", "shape", "data", "attributes", "available", "schema_version",
    "kind", "weight", "timestamp", "score", "error", "model", "topic", "partition", "offset", "id", "type", "k",
    "filter", "exclude", "profile", "diversity", "category", "per_category", "explain", "item_ids",
    "and", "or", "not", "in", "gt", "gte", "lt", "lte", "genre", "price", "tags",
)
# fmt: on
INPUT_SHAPE: Final = (2, 2)
_PROFILES: Final = all_profiles(RecommendSettings())
_ITEMS: Final[tuple[dict[str, Attribute], ...]] = (
    {},
    {"genre": "Drama", "price": 4.5, "tags": ["x", "y"], "sold": True},
    {"genre": None, "price": 10**400, "tags": [], "sold": 0},
)


class Target(NamedTuple):
    """What is fuzzed, and bytes that it accepts, to begin from."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def record(
    value: bytes | None, headers: list[tuple[str, bytes | None]], key: bytes | None, timestamp: int = 1
) -> ConsumerRecord:
    """Return a record as a consumer gives it."""
    return ConsumerRecord("topic", 0, -1, 7, timestamp, 0, key, value, headers, None, len(key or b""), 0, 0)


def divided(data: bytes, parts: int) -> list[bytes]:
    """Divide ``data`` into ``parts``; the first bytes say where."""
    lengths, rest = data[: parts - 1], data[parts - 1 :]
    found = []
    for length in lengths:
        found.append(rest[:length])
        rest = rest[length:]
    return [*found, *[b""] * (parts - 1 - len(found)), rest]


def _key_of(value: bytes, field: str, content_type: str) -> bytes:
    """Return the id in ``value``, where it is one, so that most inputs do not end at the key."""
    decode = msgspec.msgpack.decode if content_type == MSGPACK else msgspec.json.decode
    try:
        found = decode(value)
        return found[field].encode() if isinstance(found, dict) else b"k"
    except (ValueError, RecursionError, KeyError, AttributeError):
        return b"k"


def item(data: bytes) -> None:
    """The record of an item, from the bytes of its value; the first byte chooses format and model."""
    content_type = MSGPACK if data[:1] > b"\x80" else JSON
    shape = INPUT_SHAPE if data[:1] and data[0] % 2 else None
    value = data[1:]
    headers: list[tuple[str, bytes | None]] = [(CONTENT_TYPE_HEADER, content_type.encode())]
    try:
        change = item_decoder(MAX_BYTES, shape)(record(value, headers, _key_of(value, "item_id", content_type)))
    except BadEvent as error:
        _is_printable_reason(error)
        return
    event = change.event
    assert event is not None
    assert 1 <= len(change.item_id) <= MAX_ID_LENGTH
    assert change.item_id.encode().decode() == event.item_id
    if change.vector is not None:
        assert np.isfinite(change.vector).all()
        assert len(change.vector) == 4 or shape is None
    # What is kept of it can be written and read again.
    assert decode_item(encode(event, MSGPACK), MSGPACK) == event
    assert msgspec.json.decode(msgspec.json.encode(event.attributes)) == event.attributes
    AttributeColumns().replace(np.array([0]), [event.attributes])


def interaction(data: bytes) -> None:
    """The record of an interaction, from the bytes of its value."""
    content_type = MSGPACK if data[:1] > b"\x80" else JSON
    value = data[1:]
    headers: list[tuple[str, bytes | None]] = [(CONTENT_TYPE_HEADER, content_type.encode())]
    try:
        found = interaction_decoder(MAX_BYTES)(record(value, headers, _key_of(value, "user_id", content_type)))
    except BadEvent as error:
        _is_printable_reason(error)
        return
    assert 0 <= found.weight <= MAX_WEIGHT
    assert 0 <= found.timestamp <= MAX_TIMESTAMP
    assert 1 <= len(found.user_id) <= MAX_ID_LENGTH
    assert 1 <= len(found.item_id.encode()) <= 4 * MAX_ID_LENGTH


def envelope(data: bytes) -> None:
    """All of a record but a good value: key, headers, time."""
    key, name, header, time, rest = divided(data, 5)
    names = (CONTENT_TYPE_HEADER, "Content-Type", name.decode("utf-8", "backslashreplace"), "unread-batch")
    headers = [(names[len(rest) % 4], header if rest[:1] != b"0" else None)]
    good = encode(ItemEvent(item_id="k"))
    timestamp = int.from_bytes(time[:8], "big", signed=True)
    for decode in (item_decoder(MAX_BYTES, None), interaction_decoder(MAX_BYTES)):
        try:
            decode(record(good, headers, key, timestamp))
            decode(record(b'{"user_id": "u", "item_id": "i"}', headers, b"u", timestamp))
        except BadEvent as error:
            _is_printable_reason(error)


def anomaly(data: bytes) -> None:
    """An event of the topic ``anomalies``."""
    try:
        found = decode_anomaly(data[1:], MSGPACK if data[:1] > b"\x80" else JSON)
    except BadEvent:
        return
    assert found.score > 1
    assert math.isfinite(found.timestamp)


def filters(data: bytes) -> None:
    """A filter as the command line takes it."""
    try:
        condition = decode_filter(data)
    except BadFilter as error:
        str(error).encode()
        return
    columns = AttributeColumns()
    columns.replace(np.arange(len(_ITEMS)), _ITEMS)
    # Two ways to say what matches.
    assert columns.mask(condition).tolist()[: len(_ITEMS)] == [matches(condition, one) for one in _ITEMS]
    assert hash(condition) == hash(decode_filter(data))


def query(data: bytes) -> None:
    """A request of the stream of queries."""
    to = address(data)
    try:
        found = decode_request(data)
        if isinstance(found, ListQuery):
            wanted = wanted_by(found, _PROFILES)
            assert 1 <= wanted.k <= MAX_K
    except BadQuery as error:
        msgspec.json.encode(QueryReply(to or "nobody", "error", error=str(error)))
        return
    # A request that is one can be told that all are busy.
    assert to == found.id


def letter(data: bytes) -> None:
    """A record of the topic of dead letters, which anybody may have written, and how it is shown."""
    key, which, header, other, value = divided(data, 5)
    names = (*HEADERS, HEADER_REPLAYED, other.decode("utf-8", "backslashreplace"))
    headers: list[tuple[str, bytes | None]] = [(names[number % len(names)], header) for number in which]
    found = read_letter(record(value, headers, key or None, int.from_bytes(header[:8], "big", signed=True)))
    assert -1 <= found.partition < 1 << 63
    assert -1 <= found.offset < 1 << 63
    assert first_place(record(value, headers, key), found.partition, found.offset) <= found.offset
    screen = Console(file=io.StringIO(), markup=False, emoji=False, highlight=False, width=240)
    shown = [found.topic, found.message, terminal.printable_bytes(value, 60), terminal.moment(found.written_ms / 1000)]
    screen.print(terminal.table(("a", "b", "c", "d"), [shown]))
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert all(character.isprintable() or character == "\n" for character in text)


def records(data: bytes) -> None:
    """What Redis holds of items and users."""
    with suppress(ValueError):
        CodeRecord.unpack(data, 3)
    with suppress(ValueError):
        LogEntry.unpack(data)
    try:
        history = unpack_history(data)
    except ValueError:
        return
    if history:
        assert unpack_history(pack_history(history)) == history


def _is_printable_reason(error: BadEvent) -> None:
    """Fail where the reason cannot be a header of the dead letter."""
    assert str(error).encode(errors="replace")
    assert type(error) is not BadEvent


_ITEM: Final = b'{"item_id": "a", "features": [0.1, 0.9, 1e-3, 4], "attributes": {"t": "S", "g": ["A"], "p": 4.5}}'
_TOUCH: Final = b'{"user_id": "4", "item_id": "5", "kind": "view", "weight": 1.0, "timestamp": 893286638}'
_ANOMALY: Final = (
    b'{"item_id": "5", "score": 2.7, "error": 0.31, "model": "v", "topic": "items", "partition": 2, "offset": 1,'
    b' "timestamp": 1764000000.0}'
)


def _both(document: bytes, *choices: int) -> tuple[bytes, ...]:
    packed = msgspec.msgpack.encode(msgspec.json.decode(document))
    return tuple(bytes([choice]) + (packed if choice > 0x80 else document) for choice in choices)


TARGETS: Final = {
    "item": Target(
        item,
        (
            *_both(_ITEM, 0, 1, 0x81, 0x82),
            *_both(b'{"item_id": "b", "features": "zczMPWZmZj8AAAAAAACAPw==", "available": false}', 1),
            *_both(b'{"item_id": "c", "image": {"shape": [2, 2], "data": "AAECAw=="}}', 1),
        ),
    ),
    "interaction": Target(interaction, _both(_TOUCH, 0, 0x81)),
    "envelope": Target(
        envelope, (b"\x01\x05\x10\x08ktraceapplication/json12345678rest", b"\x01\x00\x13\x00kapplication/msgpack")
    ),
    "anomaly": Target(anomaly, _both(_ANOMALY, 0, 0x81)),
    "filters": Target(
        filters,
        (
            b'{"genre": "Drama", "price": {"gte": 1, "lt": 5}}',
            b'{"and": [{"tags": {"in": ["x", 1, true]}}, {"or": []}, {"not": {"sold": true}}]}',
        ),
    ),
    "query": Target(
        query,
        (
            b'{"type": "user", "id": "q1", "user_id": "42", "k": 10, "filter": {"g": "D"}, "exclude": ["1"]}',
            b'{"type": "vector", "id": "q3", "features": [0.1, 0.9], "diversity": 0.5}',
            b'{"type": "items", "id": "q2", "item_ids": ["5"], "category": "g", "per_category": 2, "explain": 3}',
            b'{"type": "trending", "id": "q7", "profile": "default"}',
            b'{"type": "reconstruct", "id": "q5", "item_id": "50"}',
        ),
    ),
    "letter": Target(letter, (b"\x01\x07\x05\x05k\x00\x01\x02\x03\x04\x05\x0612345othervalue",)),
    "records": Target(
        records,
        (
            b"\x01\x02\x33code",
            LogEntry(3, ["a"], [b"\x01\x02\x33c"], [b"{}"]).pack(),
            b'[["a", 1.0, 2.5, "view"]]',
        ),
    ),
}
