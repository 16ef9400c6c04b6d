"""``latentstream status`` on real servers, and without any."""

import json
from typing import Any

import msgspec
import pytest
import redis

from schemas.documents import Recommendations, recommendation_order
from schemas.keys import Keys
from schemas.settings import Settings
from tests.cli.conftest import Run
from workers import connections


def status(run: Run) -> dict[str, Any]:
    result = run("status", "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_an_empty_system_is_told_in_words(run_real: Run) -> None:
    result = run_real("status")
    assert result.exit_code == 0, result.output
    for words in ("none yet: train one", "does not exist yet", "popularity list", "Redis memory"):
        assert words in result.stdout
    found = status(run_real)
    assert found["redis"]["model"] is None
    assert found["redis"]["items"] == found["redis"]["users"] == found["redis"]["queries_waiting"] == 0
    assert found["redis"]["memory_bytes"] > 0
    assert found["kafka"] == {
        "problem": None,
        "items": None,
        "interactions": None,
        "dead_letters": None,
        "anomalies": None,
    }


def test_lag_is_what_the_positions_of_the_current_model_have_not_reached(
    run_real: Run, settings: Settings, redis_client: redis.Redis
) -> None:
    connections.ensure_topics(settings)
    producer = connections.producer(settings)
    for number in range(10):
        producer.send(settings.kafka.items_topic, partition=1, key=b"k", value=b"%d" % number)
    for number in range(4):
        producer.send(settings.kafka.interactions_topic, partition=2, key=b"k", value=b"%d" % number)
    producer.send(settings.kafka.dead_letters_topic, key=b"k", value=b"v")
    for _ in range(2):
        producer.send(settings.kafka.anomalies_topic, key=b"k", value=b"v")
    producer.flush(timeout=30)
    producer.close()
    keys = Keys(settings.redis.prefix)
    redis_client.hset(keys.model, mapping={"version": "v2", "promoted_at": "today", "promoted_by": "me"})
    redis_client.hset(keys.items("v1", 1).position, mapping={"next": 10, "ids": 99})
    redis_client.hset(keys.items("v2", 1).position, mapping={"next": 7, "ids": 5})
    redis_client.hset(keys.users(2).position, mapping={"next": 4, "ids": 3})
    redis_client.xadd(keys.queries, {"request": b"{}"})
    popular = Recommendations(recommendation_order(0, 0), "", "v2", "popular", 0.0, [], [])
    redis_client.set(keys.popular(), msgspec.json.encode(popular))
    found = status(run_real)
    assert found["redis"]["model"] == {"version": "v2", "promoted_at": "today", "promoted_by": "me", "serving": ""}
    assert (found["redis"]["items"], found["redis"]["users"], found["redis"]["queries_waiting"]) == (5, 3, 1)
    assert found["redis"]["popular_changed_s_ago"] > 1e9
    lags = {name: (topic["events"], topic["lag"]) for name, topic in found["kafka"].items() if topic is not None}
    assert lags == {"items": (10, 3), "interactions": (4, 0), "dead_letters": (1, None), "anomalies": (2, None)}
    words = run_real("status").stdout
    assert "2: see `latentstream anomalies`" in words
    assert "3 not processed yet" in words
    assert "all processed" in words
    assert "v2, promoted today by me" in words


def test_without_servers_both_are_said_to_be_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("status")
    assert result.exit_code == 1
    assert "no Kafka address" in result.stdout
    assert "no Redis address" in result.stdout
    monkeypatch.setenv("LATENTSTREAM_REDIS__URL", "redis://:hunter2@127.0.0.1:1/0")
    result = run("status", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert "does not answer" in found["redis"]["problem"]
    assert "hunter2" not in result.output


def test_kafka_is_told_of_while_redis_is_missing(
    run_real: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections.ensure_topics(settings)
    monkeypatch.setenv("LATENTSTREAM_REDIS__URL", "redis://127.0.0.1:1/0")
    result = run_real("status")
    assert result.exit_code == 1
    assert "lag unknown, because Redis does not answer" in result.stdout
