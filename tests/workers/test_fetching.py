"""What a consumer hands out of batches that are larger, or odder, than they look; from a real Kafka."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import snappy
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from schemas.events import EventTooLarge, InteractionEvent, encode
from schemas.settings import Settings
from workers import connections, fetching, record_batches
from workers.decoding import interaction_decoder
from workers.record_batches import UNREAD_HEADER

LIMIT = 1 << 20
GOOD = InteractionEvent(user_id="u", item_id="7")


@pytest.fixture
def consumer(settings: Settings) -> Iterator[KafkaConsumer]:
    connections.ensure_topics(settings)
    made = connections.consumer(settings, None)
    topic = settings.kafka.interactions_topic
    made.assign([TopicPartition(topic, number) for number in made.partitions_for_topic(topic)])
    fetching.bound(made, LIMIT)
    yield made
    made.close(timeout_ms=1000)


def send(
    producer: KafkaProducer, settings: Settings, value: bytes, headers: list[tuple[str, bytes]] | None = None
) -> None:
    producer.send(settings.kafka.interactions_topic, key=b"u", value=value, headers=headers or []).get(timeout=30)


def polls(consumer: KafkaConsumer, count: int) -> list[list[ConsumerRecord]]:
    """Return what each poll gave, until it is ``count`` records."""
    found: list[list[ConsumerRecord]] = []
    while sum(map(len, found)) < count:
        polled = consumer.poll(timeout_ms=10_000)
        assert polled, "nothing came within 10 s"
        found += polled.values()
    return found


@pytest.mark.parametrize("compression", ["gzip", "lz4", "snappy", "zstd"])
def test_a_batch_that_becomes_too_large_is_one_record_and_reading_goes_on(
    settings: Settings, consumer: KafkaConsumer, compression: str
) -> None:
    producer = connections.producer(settings, compression_type=compression, max_request_size=10 * LIMIT)
    send(producer, settings, encode(GOOD))
    send(producer, settings, bytes(8 * LIMIT))
    send(producer, settings, bytes(LIMIT // 2))
    send(producer, settings, encode(GOOD))
    producer.close()
    first, bomb, large, last = [record for poll in polls(consumer, 4) for record in poll]
    decode = interaction_decoder(settings.events.max_bytes)
    assert decode(first).item_id == decode(last).item_id == "7"
    assert (first.offset, bomb.offset, last.offset) == (0, 1, 3)
    assert dict(bomb.headers)[UNREAD_HEADER]
    assert len(bomb.value) < LIMIT
    with pytest.raises(EventTooLarge, match=r"offsets 1 to 1 were not looked at.* decompresses to more than 1,048,576"):
        decode(bomb)
    assert large.value == bytes(LIMIT // 2)


def test_a_poll_ends_where_it_has_enough_bytes(
    settings: Settings, consumer: KafkaConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "POLL_BYTES", LIMIT)
    producer = connections.producer(settings, max_request_size=10 * LIMIT)
    for number in range(12):
        send(producer, settings, bytes([number]) * (LIMIT * 2 // 5))
    producer.close()
    found = polls(consumer, 12)
    # The third of each poll reaches over the limit.
    assert [len(records) for records in found] == [3, 3, 3, 3]
    assert [record.value[0] for records in found for record in records] == list(range(12))


class _NotUtf8(str):
    """The name of a header as a client in another language may write it."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:  # noqa: ARG002
        return b"\xfftrace\x80"


def test_the_name_of_a_header_need_not_be_text(settings: Settings, consumer: KafkaConsumer) -> None:
    producer = connections.producer(settings)
    send(producer, settings, b"first", [("a", b"1"), (_NotUtf8(), b"2")])
    send(producer, settings, b"second", [("b", b"3")])
    producer.close()
    first, second = [record for poll in polls(consumer, 2) for record in poll]
    assert (first.value, first.headers) == (b"first", [("a", b"1"), ("\\xfftrace\\x80", b"2")])
    assert (second.value, second.headers) == (b"second", [("b", b"3")])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x82SNAPPY\x00" + bytes(8) + b"\xff\xff\xff\xfc",
        b"\x82SNAPPY\x00" + bytes(8) + b"\x00\x00",
        b"\xff\xff\xff\xff\xff\xff",
        b"\x05\x00\x00",
    ],
)
def test_what_is_no_snappy_is_said_and_does_not_hang(data: bytes) -> None:
    """A block of negative length would keep kafka-python's own decoder going for ever."""
    with pytest.raises((RuntimeError, snappy.UncompressError)):
        record_batches._unsnappy(memoryview(data), LIMIT)
