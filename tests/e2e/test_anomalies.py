"""What is marked in Redis is told on the topic of anomalies, and told before it is stored."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import redis
from kafka.errors import KafkaTimeoutError

from models.bundle import Bundle
from models.registry import Registry
from schemas.events import AnomalyEvent, ItemEvent, decode_anomaly
from schemas.settings import Settings
from tests.cli.kafka_topics import read_topic
from tests.e2e.conftest import Progress, marked, publish, wait_until
from tests.e2e.world import World, wild
from tests.processes import worker_process
from workers import connections
from workers.anomalies import Anomalies
from workers.dead_letters import DeadLetters
from workers.encoder import Encoder
from workers.health import Health
from workers.loop import run

WILD = [f"wild-{number}" for number in range(12)]


@pytest.fixture
def strange() -> list[ItemEvent]:
    rng = np.random.default_rng(5)
    return [wild(name, rng) for name in WILD]


def events(settings: Settings) -> list[AnomalyEvent]:
    """Return what the topic holds; the key of each is its item."""
    records = read_topic(settings, settings.kafka.anomalies_topic)
    found = [decode_anomaly(record.value) for record in records]
    assert [record.key.decode() for record in records] == [event.item_id for event in found]
    return found


def test_the_topic_tells_exactly_what_is_marked_in_redis(
    served: Settings, redis_client: redis.Redis, progress: Progress, world: World, strange: list[ItemEvent]
) -> None:
    topic = served.kafka.items_topic
    hidden = msgspec.structs.replace(strange[0], available=False)
    published = [*world.items, hidden, *strange[1:], ItemEvent(item_id="no-features")]
    names = {event.item_id for event in published}

    def all_encoded() -> bool:
        return progress.done(topic)

    with worker_process(served, "encoder") as worker:
        publish(served, published)
        wait_until(all_encoded, "all items encoded")
        stored = marked(redis_client, served, names)
        told = events(served)
        assert sorted(event.item_id for event in told) == sorted(stored)
        assert set(WILD) <= set(stored)
        assert len(stored) < len(WILD) + len(world.items) / 5, "most films are ordinary"
        assert worker.metric("latentstream_anomalies_total") == len(told)
        origins = {(record.partition, record.offset): record for record in read_topic(served, topic)}
        for event in told:
            record = stored[event.item_id]
            assert event.score > 1
            # Redis holds both rounded and the score no larger than 490.
            assert record.score == pytest.approx(min(event.score, 490), rel=0.051)
            assert record.error == pytest.approx(event.error, rel=0.01)
            origin = origins[event.partition, event.offset]
            assert (event.topic, event.item_id.encode()) == (topic, origin.key)
            assert event.timestamp == origin.timestamp / 1000

        usual = next(item for item in world.items if item.item_id not in stored)
        publish(served, [msgspec.structs.replace(usual, item_id=WILD[1])])
        producer = connections.producer(served)
        producer.send(topic, key=WILD[2].encode(), value=None).get(timeout=30)
        producer.close()
        wait_until(all_encoded, "one item repaired and one deleted")
        assert marked(redis_client, served, names).keys() == stored.keys() - set(WILD[1:3])
        assert len(events(served)) == len(told)

        publish(served, strange[1:2])
        wait_until(all_encoded, "the item wild again")
        again = [event for event in events(served) if event.item_id == WILD[1]]
        assert len(again) == 2
        assert again[0].offset != again[1].offset


class Failing:
    """A function that raises ``error`` the first ``times``; ``then`` is called before."""

    def __init__(self, call: Callable[..., Any], error: Exception, times: int, then: Callable[[], None]) -> None:
        self._call, self._error, self._then = call, error, then
        self.left = times

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if self.left:
            self.left -= 1
            self._then()
            raise self._error
        return self._call(*arguments, **options)


class Session:
    """An encoder in this process, whose parts can be made to fail."""

    def __init__(self, settings: Settings, client: redis.Redis, bundle: Bundle) -> None:
        self._settings = settings
        self.producer = connections.producer(settings)
        dead_letters, anomalies = DeadLetters(self.producer, settings), Anomalies(self.producer, settings)
        consumer = connections.consumer(settings, "encoder")
        self.encoder = Encoder(settings, client, consumer, dead_letters, anomalies, bundle)

    def run(self, until: Callable[[], bool]) -> None:
        with Health(self._settings.health) as health:
            run(self.encoder, health, threading.Event(), until)
        self.encoder.close()
        self.producer.close()


def test_nothing_is_stored_before_it_is_told_and_nothing_is_lost(
    served: Settings,
    redis_client: redis.Redis,
    progress: Progress,
    trained: tuple[Path, str],
    strange: list[ItemEvent],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The broker takes nothing, then does not acknowledge; then Redis fails when the events are out already."""
    monkeypatch.setattr("workers.loop.MAX_BACKOFF_S", 0.1)
    topic = served.kafka.items_topic
    publish(served, strange)
    bundle = Registry(trained[0]).load(trained[1])
    session = Session(served, redis_client, bundle)
    consumed: list[int] = []

    def look() -> None:
        consumed.append(progress.consumed(topic))

    producer, store = session.producer, session.encoder.source._store
    refusing = Failing(producer.send, KafkaTimeoutError("no broker"), 2, look)
    silent = Failing(producer.flush, KafkaTimeoutError("not acknowledged"), 1, look)
    down = Failing(store.commit, redis.ConnectionError("down"), 1, look)
    producer.send, producer.flush = refusing, silent
    monkeypatch.setattr(store, "commit", down)
    session.run(until=lambda: progress.done(topic))
    assert (refusing.left, silent.left, down.left) == (0, 0, 0)
    assert consumed == [0, 0, 0, 0]

    told = events(served)
    assert {event.item_id for event in told} == marked(redis_client, served, WILD).keys() == set(WILD)
    assert len(told) > len(WILD), "what was sent before the failures is there twice"
    assert len({msgspec.json.encode(event) for event in told}) == len(WILD), "repetitions are equal"

    # A new model encodes all items again and says under which version it marks them.
    manifest = msgspec.structs.replace(bundle.manifest, version="next")
    Session(served, redis_client, dataclasses.replace(bundle, manifest=manifest)).run(
        until=lambda: len(events(served)) >= len(told) + len(WILD)
    )
    new = [event for event in events(served) if event.model == "next"]
    assert sorted(event.item_id for event in new) == sorted(WILD)
