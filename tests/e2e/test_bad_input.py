"""Every kind of bad event ends in the dead letters with its reason, and the next good one is processed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgpack
import msgspec
import pytest
import redis
from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from schemas.events import InteractionEvent
from schemas.keys import Keys
from schemas.settings import Settings
from tests.e2e.conftest import Progress, publish, wait_until
from tests.e2e.world import World
from tests.processes import worker_process
from workers import connections
from workers.dead_letters import HEADER_EXCEPTION, HEADER_MESSAGE, HEADER_OFFSET, HEADER_PARTITION, HEADER_TOPIC
from workers.lookup import find_histories, find_item

PACKED = [("content-type", b"application/msgpack")]


class Bad(NamedTuple):
    """A bad event and what its dead letter must say."""

    key: bytes | None
    value: bytes | None
    exception: str
    message: str
    headers: Sequence[tuple[str, bytes]] = ()


def _item(**fields: object) -> bytes:
    return msgspec.json.encode({"item_id": "x"} | fields)


BAD_ITEMS = {
    "not JSON": Bad(b"x", b"<item/>", "MalformedEvent", "not JSON"),
    "empty value": Bad(b"x", b"", "MalformedEvent", "not JSON"),
    "truncated MessagePack": Bad(
        b"x", msgpack.packb({"item_id": "x", "features": [1.0] * 7})[:-3], "MalformedEvent", "not MessagePack", PACKED
    ),
    "unknown content type": Bad(b"x", _item(), "UnknownContentType", "text/xml", [("content-type", b"text/xml")]),
    "wrong dimension": Bad(b"x", _item(features=[1.0, 2.0]), "WrongShape", "2 features, the model takes 7"),
    "empty features": Bad(b"x", _item(features=[]), "WrongShape", "empty"),
    "NaN in JSON": Bad(b"x", b'{"item_id": "x", "features": [NaN]}', "MalformedEvent", "not JSON"),
    "too large for a float": Bad(b"x", b'{"item_id": "x", "features": [1e999]}', "InvalidEvent", "out of range"),
    "too large for float32": Bad(b"x", _item(features=[1e300] * 7), "NonFinite", "features[0] is inf"),
    "NaN in MessagePack": Bad(
        b"x", msgpack.packb({"item_id": "x", "features": [float("nan")] * 7}), "NonFinite", "features[0] is nan", PACKED
    ),
    "infinity in bytes": Bad(
        b"x",
        msgpack.packb({"item_id": "x", "features": b"\x00\x00\x80\x7f" * 7}),
        "NonFinite",
        "features[0] is inf",
        PACKED,
    ),
    "bytes that are no floats": Bad(b"x", _item(features="AAAA"), "WrongShape", "3 bytes are not a whole number"),
    "not base64": Bad(b"x", _item(features="!"), "InvalidEvent", "base64"),
    "unknown schema_version": Bad(b"x", _item(schema_version=99), "InvalidEvent", "$.schema_version"),
    "empty id": Bad(b"", _item(item_id=""), "InvalidEvent", "0 characters"),
    "over-long id": Bad(b"y" * 257, _item(item_id="y" * 257), "InvalidEvent", "257 characters"),
    "key of another item": Bad(b"z", _item(), "KeyMismatch", "'z'"),
    "key that is not UTF-8": Bad(b"\xff", _item(), "KeyMismatch", "UTF-8"),
    "too large": Bad(b"x", _item(attributes={"text": "a" * 600_000}), "EventTooLarge", "allowed are 524288"),
    "wrong types": Bad(b"x", _item(attributes=3), "InvalidEvent", "$.attributes"),
    "id that is a number": Bad(b"x", _item(item_id=7), "InvalidEvent", "$.item_id"),
    "image whose shape is not its bytes": Bad(
        b"x", _item(image={"shape": [2, 2], "data": "AAAA"}), "WrongShape", "has 4 bytes, not 3"
    ),
    "features and image": Bad(
        b"x", _item(features=[1.0], image={"shape": [1, 1], "data": "AA=="}), "InvalidEvent", "not both"
    ),
}


def _touch(**fields: object) -> bytes:
    return msgspec.json.encode({"user_id": "u", "item_id": "7"} | fields)


BAD_INTERACTIONS = {
    "not JSON": Bad(b"u", b"\xff\xfe", "MalformedEvent", "not JSON"),
    "truncated MessagePack": Bad(
        b"u", msgpack.packb({"user_id": "u", "item_id": "7"})[:-1], "MalformedEvent", "not MessagePack", PACKED
    ),
    # The broker itself refuses this on `items`, which is compacted.
    "no key": Bad(None, _touch(), "KeyMismatch", "no key"),
    "null header": Bad(b"u", b"{", "MalformedEvent", "not JSON", [("empty", b"")]),
    "no item": Bad(b"u", b'{"user_id": "u"}', "InvalidEvent", "item_id"),
    "null value": Bad(b"u", None, "InvalidEvent", "weight 0"),
    "negative weight": Bad(b"u", _touch(weight=-1), "InvalidEvent", "$.weight"),
    "NaN weight": Bad(
        b"u",
        msgpack.packb({"user_id": "u", "item_id": "7", "weight": float("nan")}),
        "InvalidEvent",
        "$.weight",
        PACKED,
    ),
    "time in milliseconds": Bad(b"u", _touch(timestamp=893286638000), "InvalidEvent", "$.timestamp"),
    "unknown schema_version": Bad(b"u", _touch(schema_version=0), "InvalidEvent", "$.schema_version"),
    "empty item id": Bad(b"u", _touch(item_id=""), "InvalidEvent", "$.item_id"),
    "over-long user": Bad(b"u" * 300, _touch(user_id="u" * 300), "InvalidEvent", "300 characters"),
    "key of another user": Bad(b"v", _touch(), "KeyMismatch", "'v'"),
    "too large": Bad(b"u", _touch(kind="a" * 600_000), "EventTooLarge", "allowed are 524288"),
}


@pytest.fixture
def letters(served: Settings) -> Iterator[KafkaConsumer]:
    consumer = connections.consumer(served, None)
    topic = served.kafka.dead_letters_topic
    consumer.assign([TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)])
    yield consumer
    consumer.close(timeout_ms=1000)


@pytest.mark.parametrize("role", ["encoder", "recommender"])
def test_bad_events_become_dead_letters_and_good_ones_go_on(
    served: Settings,
    redis_client: redis.Redis,
    trained: tuple[Path, str],
    progress: Progress,
    world: World,
    letters: KafkaConsumer,
    role: str,
) -> None:
    version = trained[1]
    items = role == "encoder"
    topic = served.kafka.items_topic if items else served.kafka.interactions_topic
    cases = BAD_ITEMS if items else BAD_INTERACTIONS
    producer = connections.producer(served)
    sent = {}
    with worker_process(served, role):
        for name, bad in cases.items():
            future = producer.send(topic, key=bad.key, value=bad.value, headers=[*bad.headers, ("case", name.encode())])
            record = future.get(timeout=30)
            sent[name] = (record.partition, record.offset)
            # A good event right after each bad one.
            after = f"after {name}"
            good = (
                msgspec.structs.replace(world.items[0], item_id=after)
                if items
                else InteractionEvent(user_id=after, item_id="7")
            )
            publish(served, [good])
        wait_until(lambda: progress.done(topic), "everything processed")
    producer.close()
    keys, partitions = Keys(served.redis.prefix), served.kafka.partitions
    for name in cases:
        if items:
            assert find_item(redis_client, keys, version, partitions, f"after {name}") is not None, name
        else:
            assert find_histories(redis_client, keys, partitions, [f"after {name}"]) != [[]], name

    found: dict[str, ConsumerRecord] = {}
    while len(found) < len(cases):
        polled = letters.poll(timeout_ms=5000)
        assert polled, f"missing: {sorted(set(cases) - set(found))}"
        for records in polled.values():
            found.update({dict(record.headers)["case"].decode(): record for record in records})
    for name, bad in cases.items():
        letter = found[name]
        headers = dict(letter.headers)
        assert (letter.key, letter.value) == (bad.key, bad.value), name
        assert headers[HEADER_EXCEPTION].decode() == bad.exception, (name, headers)
        assert bad.message in headers[HEADER_MESSAGE].decode(), (name, headers)
        origin = (headers[HEADER_TOPIC].decode(), int(headers[HEADER_PARTITION]), int(headers[HEADER_OFFSET]))
        assert origin == (topic, *sent[name]), name
        assert all(header in letter.headers for header in bad.headers), name


def test_worker_stops_when_too_many_events_are_bad(served: Settings, progress: Progress) -> None:
    strict = served.model_copy(
        update={
            "events": served.events.model_copy(update={"dead_letter_limit": 5, "dead_letter_window": 10, "batch": 1})
        }
    )
    producer = connections.producer(strict)
    for number in range(20):
        key = b"same-partition"
        producer.send(strict.kafka.items_topic, key=key, value=f"bad {number}".encode()).get(timeout=30)
    producer.close()
    with worker_process(strict, "encoder", wait_ready=False) as worker:
        assert worker.wait(60) == 1
        assert "5 of the last 5 events could not be processed" in worker.log()
    assert progress.consumed(strict.kafka.items_topic) == 5
