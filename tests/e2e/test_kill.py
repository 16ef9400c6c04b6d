"""``kill -9`` in the middle of the stream, and a restart: Redis ends as if nothing had happened."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import numpy as np
import pytest
import redis
from kafka import TopicPartition

from schemas.events import InteractionEvent, ItemEvent
from schemas.keys import Keys
from schemas.records import LogEntry
from schemas.settings import Settings
from tests.cli.kafka_topics import read_topic
from tests.e2e.conftest import Progress, marked, publish, wait_until
from tests.e2e.world import World, wild
from tests.processes import worker_process
from workers import connections
from workers.dead_letters import HEADER_OFFSET, HEADER_PARTITION, HEADER_TOPIC

KILLS = 3


def test_kill_9_and_restart_leave_the_same_state_key_by_key(
    served: Settings, redis_client: redis.Redis, world: World
) -> None:
    small = served.model_copy(
        update={
            "events": served.events.model_copy(update={"batch": 20}),
            "recommend": served.recommend.model_copy(update={"popular_refresh_s": 0.1}),
        }
    )
    items = [*world.items, *(ItemEvent(item_id=str(n), available=False) for n in range(3, 40, 7))]
    rng = np.random.default_rng(5)
    for number in range(15):
        items.insert(20 * number, wild(f"wild-{number}", rng))
    publish(small, items)
    _delete(small, ["11", "12"])
    _publish_bad(small)
    calm, stormy = (_renamed(small, name) for name in ("calm", "stormy"))
    version = redis_client.hget(Keys(served.redis.prefix).model, "version")
    for settings in (calm, stormy):
        redis_client.hset(Keys(settings.redis.prefix).model, "version", version)
    topics = (small.kafka.items_topic, small.kafka.interactions_topic)

    _run(calm, redis_client, "encoder", topics[0], kills=0)
    _run(stormy, redis_client, "encoder", topics[0], kills=KILLS)
    publish(small, _interactions(world))
    _run(calm, redis_client, "recommender", topics[1], kills=0)
    _run(stormy, redis_client, "recommender", topics[1], kills=KILLS)

    expected, found = (_state(redis_client, settings) for settings in (calm, stormy))
    assert len(expected) > 100
    assert sorted(found) == sorted(expected)
    for name in expected:
        assert found[name] == expected[name], name
    for settings in (calm, stormy):
        marks = marked(redis_client, settings, {item.item_id for item in items})
        assert {f"wild-{number}" for number in range(15)} <= marks.keys()
        told = read_topic(settings, settings.kafka.anomalies_topic)
        assert marks.keys() <= {record.key.decode() for record in told}
    letters = [_letters(settings) for settings in (calm, stormy)]
    assert letters[0] == letters[1] == {(topics[0], "bad-item"), (topics[1], "bad-user")}


def _interactions(world: World) -> list[InteractionEvent]:
    """The world's interactions, with some retracted and some of items that do not exist."""
    events = list(world.interactions)
    for n, event in enumerate(world.interactions[::17]):
        events.insert(20 * n, InteractionEvent(user_id=event.user_id, item_id=event.item_id, weight=0))
        events.insert(20 * n, InteractionEvent(user_id=event.user_id, item_id=f"unknown-{n % 5}"))
    return events


def _renamed(settings: Settings, name: str) -> Settings:
    """The same topics under a Redis prefix and consumer groups of its own."""
    kafka = settings.kafka
    return settings.model_copy(
        update={
            "redis": settings.redis.model_copy(update={"prefix": f"{settings.redis.prefix}-{name}"}),
            "kafka": kafka.model_copy(
                update={
                    "group_prefix": f"{kafka.group_prefix}-{name}",
                    "dead_letters_topic": f"{kafka.dead_letters_topic}-{name}",
                    "anomalies_topic": f"{kafka.anomalies_topic}-{name}",
                    "session_timeout_ms": 6000,
                }
            ),
        }
    )


def _run(settings: Settings, client: Any, role: str, topic: str, kills: int) -> None:
    """Run a worker until ``topic`` is processed, killing it ``kills`` times on the way."""
    progress = Progress(settings, client)
    total = sum(progress.ends(topic).values())
    for kill in range(kills):
        target = total * (kill + 1) // (kills + 2)
        with worker_process(settings, role, wait_ready=False) as worker:
            wait_until(lambda: progress.consumed(topic) >= target, f"{target} of {total} processed")  # noqa: B023
            worker.kill()
        if progress.done(topic):
            pytest.fail(f"kill {kill + 1} came after the end: nothing was interrupted")
    with worker_process(settings, role):
        wait_until(lambda: progress.done(topic), f"all of {topic} processed")
        if role == "recommender":
            # The popularity list is renewed by the clock, not by the stream.
            rounds = 10 * settings.recommend.popular_refresh_s
            time.sleep(rounds)
    progress.close()


def _state(client: Any, settings: Settings) -> dict[str, Any]:
    """All keys under the prefix, without what is allowed to differ: epochs, times, and batch boundaries."""
    prefix = settings.redis.prefix
    state: dict[str, Any] = {}
    for raw in client.scan_iter(match=f"{prefix}:*", count=1000):
        name = raw.decode().removeprefix(prefix)
        if name in (":epoch", ":queries"):
            continue
        state[name] = _value(client, raw, name)
    return state


def _value(client: Any, key: bytes, name: str) -> Any:
    kind = client.type(key)
    if kind == b"hash":
        stored = dict(client.hgetall(key))
        if name.endswith(":position"):
            del stored[b"epoch"]
        return stored
    if kind == b"set":
        return client.smembers(key)
    if kind == b"zset":
        return client.zrange(key, 0, -1, withscores=True)
    if kind == b"stream":
        folded: dict[str, bytes] = {}
        for _, fields in client.xrange(key):
            entry = LogEntry.unpack(fields[b"batch"])
            folded.update(zip(entry.ids, entry.records, strict=True))
        return folded
    document = msgspec.json.decode(client.get(key))
    return {field: value for field, value in document.items() if field not in ("order", "generated_at")}


def _delete(settings: Settings, ids: list[str]) -> None:
    producer = connections.producer(settings)
    for item_id in ids:
        producer.send(settings.kafka.items_topic, key=item_id.encode(), value=None).get(timeout=30)
    producer.close()


def _publish_bad(settings: Settings) -> None:
    producer = connections.producer(settings)
    for topic, key in ((settings.kafka.items_topic, b"bad-item"), (settings.kafka.interactions_topic, b"bad-user")):
        producer.send(topic, key=key, value=b"{").get(timeout=30)
    producer.close()


def _letters(settings: Settings) -> set[tuple[str, str]]:
    """Topic and key of each dead letter; a letter may come twice, its origin tells."""
    consumer = connections.consumer(settings, None)
    topic = settings.kafka.dead_letters_topic
    partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    ends = consumer.end_offsets(partitions)
    letters: dict[tuple[bytes, ...], tuple[str, str]] = {}
    while any(consumer.position(partition) < end for partition, end in ends.items()):
        for records in consumer.poll(timeout_ms=500).values():
            for record in records:
                headers = dict(record.headers)
                origin = tuple(headers[name] for name in (HEADER_TOPIC, HEADER_PARTITION, HEADER_OFFSET))
                letters[origin] = (headers[HEADER_TOPIC].decode(), record.key.decode())
    consumer.close(timeout_ms=1000)
    assert len(letters) == len(set(letters.values()))
    return set(letters.values())
