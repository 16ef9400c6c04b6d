"""Claiming partitions and committing what is read from them, against real Kafka and Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import redis
from kafka import KafkaConsumer, TopicPartition

from schemas.events import InteractionEvent, encode
from schemas.keys import Keys
from schemas.settings import Settings
from workers import connections
from workers.delivery import Batch, PositionStore
from workers.source import PartitionRecords, PositionOutOfRange, Source
from workers.topic_reader import bounds

EVENTS = 30


@pytest.fixture
def topic(settings: Settings) -> str:
    connections.ensure_topics(settings)
    producer = connections.producer(settings)
    for number in range(EVENTS):
        event = InteractionEvent(user_id=f"user-{number}", item_id="7")
        topic = settings.kafka.interactions_topic
        producer.send(topic, key=event.user_id.encode(), value=encode(event)).get(timeout=30)
    producer.close()
    return settings.kafka.interactions_topic


@pytest.fixture
def consumer(settings: Settings, topic: str) -> Iterator[KafkaConsumer]:
    assert topic
    made = connections.consumer(settings, "recommender")
    yield made
    made.close(timeout_ms=2000)


def _source(settings: Settings, client: redis.Redis, consumer: KafkaConsumer) -> Source:
    keys = Keys(settings.redis.prefix)
    store = PositionStore(client, keys)
    return Source(consumer, settings.kafka.interactions_topic, store, lambda number: keys.users(number).position)


def _read(source: Source, timeout_s: float, deadline_s: float = 30.0, *, commit: bool) -> list[tuple[int, int]]:
    """Poll until every event was seen or time is up; return partition and offset of each record."""
    seen: list[tuple[int, int]] = []
    end = time.monotonic() + deadline_s
    while len(seen) < EVENTS and time.monotonic() < end:
        for part in source.poll(timeout_s):
            seen += [(part.owned.partition, record.offset) for record in part.records]
            if commit:
                assert source.commit(Batch(part.owned.key), part.owned, part.following)
    return seen


def test_a_join_that_outlasts_a_poll_is_finished(
    settings: Settings, redis_client: redis.Redis, consumer: KafkaConsumer
) -> None:
    """Polls of a millisecond end in the middle of joining the group; see ``finish_joining``."""
    seen = _read(_source(settings, redis_client, consumer), 0.001, commit=True)
    assert len(seen) == len(set(seen)) == EVENTS


def test_what_was_not_committed_is_read_again_and_nothing_else(
    settings: Settings, redis_client: redis.Redis, consumer: KafkaConsumer
) -> None:
    source = _source(settings, redis_client, consumer)
    first = _read(source, 0.1, commit=False)
    source.rewind()
    again = _read(source, 0.1, commit=True)
    assert sorted(first) == sorted(again)
    source.rewind()
    assert _read(source, 0.1, deadline_s=2.0, commit=True) == []


def test_a_refused_write_is_claimed_again_and_repeated(
    settings: Settings, redis_client: redis.Redis, consumer: KafkaConsumer
) -> None:
    source = _source(settings, redis_client, consumer)
    keys = Keys(settings.redis.prefix)
    part = next(iter(_first_parts(source)))
    PositionStore(redis_client, keys).claim(part.owned.key, 0)
    assert not source.commit(Batch(part.owned.key), part.owned, part.following)
    assert part.owned.partition not in source.owned
    repeated = _first_parts(source)
    assert part.records[0].offset in [record.offset for other in repeated for record in other.records]
    assert source.commit(Batch(part.owned.key), source.owned[part.owned.partition], part.following)


def test_kafka_learns_of_what_an_owner_did_who_could_not_say_so(
    settings: Settings, redis_client: redis.Redis, consumer: KafkaConsumer
) -> None:
    """Else a lag stays where there are no more events, and scaling by it never ends."""
    keys = Keys(settings.redis.prefix)
    topic = settings.kafka.interactions_topic
    ends = {one.partition: end for one, end in bounds(consumer, topic)[1].items()}
    for partition, end in ends.items():
        # All was processed, and the worker killed before it told Kafka.
        position = PositionStore(redis_client, keys).claim(keys.users(partition).position, 0)
        PositionStore(redis_client, keys).commit(Batch(keys.users(partition).position), position, end)
    source = _source(settings, redis_client, consumer)
    assert _read(source, 0.1, deadline_s=10.0, commit=True) == []
    assert set(source.owned) == set(ends)
    source.close()
    other = connections.consumer(settings, "recommender")
    told = {partition: other.committed(TopicPartition(topic, partition)) for partition in ends}
    other.close(timeout_ms=2000)
    assert told == ends


def test_a_position_outside_the_topic_is_said_clearly(
    settings: Settings, redis_client: redis.Redis, consumer: KafkaConsumer
) -> None:
    keys = Keys(settings.redis.prefix)
    for partition in range(settings.kafka.partitions):
        redis_client.hset(keys.users(partition).position, mapping={"next": 10_000, "epoch": 1, "ids": 0, "buckets": 1})
    source = _source(settings, redis_client, consumer)
    with pytest.raises(PositionOutOfRange, match=r"holds offsets 0 to \d+, .* is 10000: the topic has lost"):
        _read(source, 0.1, commit=True)


def _first_parts(source: Source) -> list[PartitionRecords]:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if parts := source.poll(0.1):
            return parts
    pytest.fail("no records within 30 s")
