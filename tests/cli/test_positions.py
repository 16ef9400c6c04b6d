"""``latentstream positions`` on real servers: what is shown, and what is accepted."""

import json
from typing import Any

import pytest
import redis
from kafka import TopicPartition

from schemas.keys import Keys
from schemas.settings import Settings
from tests.cli.conftest import Run
from workers import connections

EVENTS = 20


@pytest.fixture
def filled(settings: Settings, redis_client: redis.Redis) -> Settings:
    """Each partition of both topics has events, and a position in the middle."""
    connections.ensure_topics(settings)
    producer, keys = connections.producer(settings), Keys(settings.redis.prefix)
    for topic in (settings.kafka.items_topic, settings.kafka.interactions_topic):
        for number in range(settings.kafka.partitions * EVENTS):
            producer.send(topic, partition=number % settings.kafka.partitions, key=b"k", value=b"v")
    producer.flush(timeout=30)
    producer.close()
    redis_client.hset(keys.model, "version", "v1")
    for partition in range(settings.kafka.partitions):
        for key in (keys.items("v1", partition).position, keys.users(partition).position):
            redis_client.hset(key, mapping={"epoch": 1, "next": 10, "ids": 3, "buckets": 1})
        redis_client.xadd(keys.items("v1", partition).log, {"batch": b"x"}, id="10-0")
    return settings


def shown(run: Run) -> dict[tuple[str, int], Any]:
    result = run("positions", "show", "--json")
    assert result.exit_code == 0, result.output
    return {(one["topic"], one["partition"]): one for one in json.loads(result.stdout)}


def truncate(settings: Settings, topic: str, partition: int, first: int) -> None:
    admin = connections.admin(settings.kafka)
    try:
        admin.delete_records({TopicPartition(topic, partition): first})
    finally:
        admin.close()


def test_a_truncated_partition_is_outside_until_that_is_accepted(
    run_real: Run, filled: Settings, redis_client: redis.Redis
) -> None:
    topic, keys = filled.kafka.interactions_topic, Keys(filled.redis.prefix)
    truncate(filled, topic, 1, 15)
    truncate(filled, topic, 2, 10)
    before = shown(run_real)
    assert {place for place, one in before.items() if one["outside"]} == {(topic, 1)}
    assert (before[topic, 1]["following"], before[topic, 1]["first"], before[topic, 1]["end"]) == (10, 15, 20)
    assert "outside: see" in run_real("positions", "show").stdout
    result = run_real("positions", "accept", topic)
    assert result.exit_code == 0, result.output
    assert f"{topic}[1]: position 10 -> 15" in result.stdout
    assert "1 positions moved" in result.stdout
    after = shown(run_real)
    assert [after[topic, partition]["following"] for partition in range(3)] == [10, 15, 10]
    # A worker that still runs has an old epoch from now on.
    assert int(redis_client.hget(keys.users(1).position, "epoch") or 0) > 1
    assert "Every position is in order" in run_real("positions", "accept", topic).stdout


def test_a_topic_that_was_made_anew_is_read_from_its_beginning(
    run_real: Run, filled: Settings, redis_client: redis.Redis
) -> None:
    topic, keys = filled.kafka.items_topic, Keys(filled.redis.prefix)
    redis_client.hset(keys.topics, topic, "3 00000000-0000-0000-0000-000000000001")
    result = run_real("positions", "accept", topic)
    assert result.exit_code == 0, result.output
    assert "3 positions moved" in result.stdout
    after = shown(run_real)
    assert [after[topic, partition]["following"] for partition in range(3)] == [0, 0, 0]
    # Entries of the change log are named by offsets of the old topic.
    assert not any(redis_client.exists(keys.items("v1", partition).log) for partition in range(3))
    assert "Every position is in order" in run_real("positions", "accept", topic).stdout


def test_what_cannot_be_accepted_is_said(run_real: Run, filled: Settings, redis_client: redis.Redis) -> None:
    topic = filled.kafka.interactions_topic
    redis_client.hset(Keys(filled.redis.prefix).topics, topic, "2 00000000-0000-0000-0000-000000000001")
    result = run_real("positions", "accept", topic)
    assert result.exit_code == 1
    assert "has 3 partitions, and what is in Redis was stored when it had 2" in str(result.exception)
    result = run_real("positions", "accept", filled.kafka.dead_letters_topic)
    assert "has no positions" in str(result.exception)
    result = run_real("positions", "accept", "no-such-topic")
    assert "does not exist" in str(result.exception)
