"""A source that follows another one, against real Kafka and Redis."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import redis

from schemas.events import ItemEvent, encode
from schemas.keys import Keys
from schemas.settings import Settings
from workers import connections
from workers.delivery import Batch, PositionStore
from workers.limited_source import LimitedSource, Limits

EVENTS = 60


@pytest.fixture
def ends(settings: Settings) -> dict[int, int]:
    """The end of each partition of a topic with some items."""
    connections.ensure_topics(settings)
    producer = connections.producer(settings)
    found: dict[int, int] = {}
    for number in range(EVENTS):
        event = ItemEvent(item_id=str(number))
        sent = producer.send(settings.kafka.items_topic, key=event.item_id.encode(), value=encode(event))
        where = sent.get(timeout=30)
        found[where.partition] = where.offset + 1
    producer.close()
    return found


class _Following:
    def __init__(self, settings: Settings, client: redis.Redis, limits: dict[int, int], share: float = 1.0) -> None:
        keys = Keys(settings.redis.prefix)
        consumer = connections.consumer(settings, None, auto_offset_reset="none")
        own = Limits(lambda: dict(limits), share, threading.Event())
        store = PositionStore(client, keys)
        topic = settings.kafka.items_topic
        self.source = LimitedSource(own, consumer, topic, store, lambda number: keys.items("v", number).position)
        self.read: dict[int, list[int]] = {}

    def poll(self, seconds: float) -> None:
        """Poll and commit for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for part in self.source.poll(0.05):
                self.read.setdefault(part.owned.partition, []).extend(record.offset for record in part.records)
                assert self.source.commit(Batch(part.owned.key), part.owned, part.following)

    def positions(self) -> dict[int, int]:
        return {number: owned.position.next for number, owned in self.source.owned.items()}


@pytest.fixture
def limits() -> dict[int, int]:
    return {}


@pytest.fixture
def following(settings: Settings, redis_client: redis.Redis, limits: dict[int, int]) -> Iterator[_Following]:
    made = _Following(settings, redis_client, limits)
    yield made
    made.source.close()


def _wait(following: _Following, limits: dict[int, int]) -> None:
    end = time.monotonic() + 30
    while following.positions() != limits:
        assert time.monotonic() < end, (following.positions(), limits)
        following.poll(0.05)


def test_nothing_is_read_beyond_the_limits_and_nothing_twice(
    ends: dict[int, int], limits: dict[int, int], following: _Following
) -> None:
    limits.update(dict.fromkeys(ends, 3))
    _wait(following, limits)
    following.poll(0.3)
    assert following.read == {number: [0, 1, 2] for number in ends}
    # One of them goes on, and then all.
    limits[0] = 5
    _wait(following, limits)
    following.poll(0.3)
    assert following.read == {number: list(range(5 if number == 0 else 3)) for number in ends}
    limits.update(ends)
    _wait(following, limits)
    assert following.read == {number: list(range(end)) for number, end in ends.items()}


def test_only_partitions_that_the_other_has_are_read(
    ends: dict[int, int], limits: dict[int, int], following: _Following
) -> None:
    limits[1] = ends[1]
    _wait(following, limits)
    assert set(following.read) == {1}
    # The other loses it and gets another one.
    del limits[1]
    limits[2] = ends[2]
    _wait(following, limits)
    limits[1] = ends[1]
    _wait(following, limits)
    assert following.read == {1: list(range(ends[1])), 2: list(range(ends[2]))}


def test_a_limit_behind_the_position_moves_nothing_back(
    ends: dict[int, int], limits: dict[int, int], following: _Following
) -> None:
    limits.update(ends)
    _wait(following, limits)
    limits.update(dict.fromkeys(ends, 1))
    following.source.rewind()
    following.poll(0.5)
    assert following.positions() == ends
    assert following.read == {number: list(range(end)) for number, end in ends.items()}
