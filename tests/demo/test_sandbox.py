"""The place where demos and benchmarks run, and what watches lists there, against real Kafka and Redis."""

import dataclasses
import time

import msgspec
import pytest
import redis

from schemas.documents import Recommendations, recommendation_order
from schemas.events import InteractionEvent, ItemEvent
from schemas.keys import Keys
from schemas.settings import Settings
from workers import connections
from workers.bench.list_watch import ListWatch, PacedProducer
from workers.sandbox import Backlog, Sandbox, SandboxError
from workers.source import finish_joining


@pytest.fixture
def sandbox(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Open a sandbox with a name of its own on the stack of the tests."""
    monkeypatch.setenv("LATENTSTREAM_HOME", str(settings.home))
    monkeypatch.setenv("LATENTSTREAM_KAFKA__BOOTSTRAP_SERVERS", settings.kafka.bootstrap_servers)
    monkeypatch.setenv("LATENTSTREAM_REDIS__URL", settings.redis.url.get_secret_value())
    return Sandbox.open(f"box-{settings.redis.prefix}", print, {"recommend": {"k": 7}, "kafka": {"partitions": 2}})


def test_other_processes_get_the_same_settings(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in sandbox.variables.items():
        monkeypatch.setenv(name, value)
    assert Settings() == sandbox.settings
    assert sandbox.settings.recommend.k == 7


def test_opening_again_leaves_nothing_of_before_and_all_of_others(sandbox: Sandbox, redis_client: redis.Redis) -> None:
    redis_client.set(sandbox.keys.popular(), "old")
    redis_client.set(f"{sandbox.settings.redis.prefix}-other:popular", "of somebody else")
    bundle = sandbox.settings.registry / "old"
    bundle.mkdir(parents=True)
    sandbox.publish([ItemEvent("old")])
    again = Sandbox.open(sandbox.name, print, {"kafka": {"partitions": 3}})
    consumer = connections.consumer(again.settings, None)
    try:
        assert connections.partitions(consumer, [again.settings.kafka.items_topic]) == {
            again.settings.kafka.items_topic: 3
        }
    finally:
        consumer.close(timeout_ms=1000)
    assert not redis_client.exists(sandbox.keys.popular())
    assert redis_client.get(f"{sandbox.settings.redis.prefix}-other:popular") == b"of somebody else"
    assert not bundle.exists()
    backlog = Backlog(again, redis_client)
    assert (backlog.items(), backlog.interactions()) == (0, 0)
    backlog.close()


def test_workers_of_an_earlier_run_are_not_run_over(
    sandbox: Sandbox, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_client.set(sandbox.keys.popular(), "in use")
    member = connections.consumer(sandbox.settings, "recommender", auto_offset_reset="earliest")
    member.subscribe([sandbox.settings.kafka.interactions_topic])
    try:
        deadline = time.monotonic() + 30
        while not member.assignment():
            finish_joining(member)
            member.poll(timeout_ms=100)
            assert time.monotonic() < deadline, "no partition was assigned"
        monkeypatch.setattr("workers.sandbox.CLEAR_TIMEOUT_S", 0.5)
        with pytest.raises(SandboxError, match=r"NonEmptyGroupError.*kill \$\(cat .*/\*\.pid\)"):
            Sandbox.open(sandbox.name, print)
    finally:
        member.close(timeout_ms=1000)
    assert redis_client.get(sandbox.keys.popular()) == b"in use"


def test_backlog_is_what_was_published_less_what_is_behind_the_positions(
    sandbox: Sandbox, redis_client: redis.Redis
) -> None:
    sandbox.publish([InteractionEvent(f"user-{n}", "film") for n in range(20)])
    sandbox.publish([ItemEvent(f"film-{n}") for n in range(10)])
    backlog = Backlog(sandbox, redis_client)
    try:
        assert (backlog.items(), backlog.interactions()) == (10, 20)
        redis_client.hset(sandbox.keys.users(0).position, "next", 3)
        assert backlog.interactions() == 17
        redis_client.hset(sandbox.keys.model, "version", "some-model")
        redis_client.hset(sandbox.keys.items("some-model", 1).position, "next", 2)
        assert backlog.items() == 8
    finally:
        backlog.close()


def _write_list(client: redis.Redis, keys: Keys, user: str, following: int) -> None:
    document = Recommendations(recommendation_order(1, following), user, "model", "model", 0.0, [], [])
    client.set(keys.recommendations(user), msgspec.json.encode(document))


def test_a_list_counts_only_when_its_offset_is_beyond_the_event(sandbox: Sandbox, redis_client: redis.Redis) -> None:
    with ListWatch(sandbox, connections.redis_client(sandbox.settings.redis)) as watch:
        producer = PacedProducer(sandbox, watch)
        producer.send([InteractionEvent("anna", f"film-{n}") for n in range(3)], rate=1000)
        producer.close()
        _write_list(redis_client, sandbox.keys, "anna", 2)
        deadline = time.monotonic() + 10
        while watch.missing() != 1:
            assert time.monotonic() < deadline, "two of three lists should have been seen"
        _write_list(redis_client, sandbox.keys, "anna", 3)
        summary = watch.finish()
    assert (summary.samples, summary.missing) == (3, 0)
    assert 0 < summary.p50 <= summary.p99 <= summary.max


def test_environment_file_sets_every_variable(sandbox: Sandbox) -> None:
    odd = dataclasses.replace(sandbox, variables=sandbox.variables | {"LATENTSTREAM_LOG_LEVEL": "a 'quoted' $value"})
    text = odd.write_environment().read_text()
    for name in odd.variables:
        assert f"export {name}=" in text
    assert """'a '"'"'quoted'"'"' $value'""" in text
