"""Which versions are in use, what a worker begins with, and the removal of what is left of others."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from models.errors import BundleError
from schemas.keys import ItemKeys, Keys
from schemas.settings import Settings
from tests.workers.flat import VERSION, flat_catalogue, record
from workers import old_versions
from workers.delivery import Batch, PositionStore
from workers.follower import BLOCK_MS, Follower
from workers.model_watch import Models
from workers.old_versions import finish_removal, remains, remove_items, remove_keys
from workers.versions import Versions, trained_at, version_prefix

TOPIC = "items"


class _Registry:
    """Has some versions, which are only names."""

    def __init__(self, *versions: str) -> None:
        self._versions = versions

    def fetch(self, version: str) -> None:
        if version not in self._versions:
            raise BundleError(f"no {version}")

    def load(self, version: str) -> Any:
        self.fetch(version)
        return SimpleNamespace(version=version)


@pytest.fixture
def keys(settings: Settings) -> Keys:
    return Keys(settings.redis.prefix)


def _first(client: redis.Redis, keys: Keys, *loadable: str) -> str:
    registry: Any = _Registry(*loadable)
    health: Any = SimpleNamespace(beat=lambda: None, not_ready=None)
    found = Models(client, keys, registry).wait(health, threading.Event(), TOPIC)
    assert found is not None
    return found.version


def _at(client: redis.Redis, keys: Keys, version: str, *offsets: int) -> None:
    client.hset(keys.topics, TOPIC, f"{len(offsets)} topic-id")
    for partition, offset in enumerate(offsets):
        client.hset(keys.items(version, partition).position, "next", offset)


def test_a_worker_begins_with_what_serves_until_the_promoted_model_is_encoded(
    redis_client: redis.Redis, keys: Keys
) -> None:
    redis_client.hset(keys.model, mapping={"version": "new", "serving": "old"})
    _at(redis_client, keys, "old", 10, 20)
    assert _first(redis_client, keys, "old", "new") == "old", "nothing is encoded under the new one"
    _at(redis_client, keys, "new", 10, 19)
    assert _first(redis_client, keys, "old", "new") == "old", "one event is missing"
    _at(redis_client, keys, "new", 10, 20)
    assert _first(redis_client, keys, "old", "new") == "new"


def test_a_model_that_cannot_be_loaded_stops_nobody_while_another_can(redis_client: redis.Redis, keys: Keys) -> None:
    redis_client.hset(keys.model, mapping={"version": "new", "serving": "old"})
    _at(redis_client, keys, "old", 10)
    assert _first(redis_client, keys, "new") == "new", "what served is gone"
    _at(redis_client, keys, "new", 10)
    assert _first(redis_client, keys, "old") == "old", "what was promoted is gone"
    with pytest.raises(BundleError, match="no old"):
        _first(redis_client, keys)
    redis_client.hdel(keys.model, "serving")
    with pytest.raises(BundleError, match="no new"):
        _first(redis_client, keys, "old")


def test_a_version_catches_up_with_where_the_leader_was(redis_client: redis.Redis, keys: Keys) -> None:
    versions = Versions(redis_client, keys)
    _at(redis_client, keys, "leader", 10, 10)
    _at(redis_client, keys, "other", 9, 10)
    assert not versions.caught_up("other", "leader", 2)
    _at(redis_client, keys, "leader", 15, 15)
    _at(redis_client, keys, "other", 10, 10)
    assert versions.caught_up("other", "leader", 2), "as far as at the last look"
    assert not versions.caught_up("other", "leader", 2), "not as far as at that one"


def test_use_is_noted_by_the_clock_of_redis_and_forgotten(redis_client: redis.Redis, keys: Keys) -> None:
    versions = Versions(redis_client, keys)
    versions.use(["a", "b"])
    redis_client.zadd(keys.in_use, {"b": 5.0})
    ages = versions.ages()
    assert 0 <= ages["a"] < 5
    assert ages["b"] > 1e9
    versions.forget("b")
    assert set(versions.ages()) == {"a"}
    versions.serve("a")
    assert versions.serving() is None, "it is not the current one"
    redis_client.hset(keys.model, "version", "a")
    versions.serve("a")
    redis_client.hset(keys.model, "version", "b")
    versions.serve("a")
    assert versions.serving() == "a"


def _store(client: redis.Redis, keys: ItemKeys, buckets: int) -> None:
    client.hset(keys.position, mapping={"epoch": 1, "next": 7, "ids": 2 * buckets, "buckets": buckets, "commits": 3})
    for bucket in range(buckets):
        client.hset(keys.codes(bucket), "item", b"code")
        client.hset(keys.attributes(bucket), "item", b"{}")
    client.xadd(keys.log, {"batch": b""}, id="7-0")


def _left(client: redis.Redis, keys: Keys) -> set[bytes]:
    return set(client.scan_iter(f"{keys.prefix}:*"))


def test_all_of_a_version_is_removed_and_nothing_else(redis_client: redis.Redis, keys: Keys) -> None:
    for version in ("old", "new"):
        for partition in (0, 1):
            _store(redis_client, keys.items(version, partition), 3)
            redis_client.hset(keys.users(partition).codes(version, 1), "user", b"code")
            redis_client.hset(keys.users(partition).position, "buckets", 2)
    there = _left(redis_client, keys)
    assert remains(redis_client, keys, "old", [0, 1])
    assert remove_keys(redis_client, keys, "old") == 2 * (3 * 2 + 2) + 2
    assert not remains(redis_client, keys, "old", [0, 1])
    assert _left(redis_client, keys) == {name for name in there if b":old:" not in name}


def test_an_interrupted_removal_is_ended_before_the_partition_is_claimed(
    redis_client: redis.Redis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = keys.items("old", 0)
    _store(redis_client, own, 3)
    monkeypatch.setattr(old_versions, "_KEYS_AT_A_TIME", 2)
    calls = 0
    whole = redis_client.eval

    def failing(script: str, count: int, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise redis.ConnectionError("gone")
        return whole(script, count, *arguments)

    monkeypatch.setattr(redis_client, "eval", failing)
    with pytest.raises(redis.ConnectionError):
        remove_items(redis_client, own)
    assert remains(redis_client, keys, "old", [0])
    assert redis_client.exists(own.codes(2))
    assert finish_removal(redis_client, own) > 0
    assert _left(redis_client, keys) == set()
    store = PositionStore(redis_client, keys)
    position = store.claim(own.position, 0)
    assert (position.next, position.ids, position.buckets) == (0, 0, 1)


def test_a_removal_stops_where_the_partition_has_a_new_owner(
    redis_client: redis.Redis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = keys.items("old", 0)
    _store(redis_client, own, 3)
    monkeypatch.setattr(old_versions, "_KEYS_AT_A_TIME", 2)
    whole = redis_client.eval

    def slow(script: str, count: int, *arguments: Any) -> Any:
        if own.codes(1) in arguments:
            # Somebody encodes under the version again: ends the removal, claims, and writes.
            monkeypatch.setattr(redis_client, "eval", whole)
            finish_removal(redis_client, own)
            store = PositionStore(redis_client, keys)
            position = store.claim(own.position, 0)
            batch = Batch(own.position)
            batch.set_fields(own.codes(0), {"item": b"new"})
            batch.set_fields(own.codes(1), {"other": b"new"})
            store.commit(batch, position, 1)
        return whole(script, count, *arguments)

    monkeypatch.setattr(redis_client, "eval", slow)
    remove_items(redis_client, own)
    assert redis_client.hget(own.codes(0), "item") == b"new"
    assert redis_client.hget(own.codes(1), "other") == b"new"
    assert redis_client.hget(own.position, "next") == b"1"


def test_a_version_that_is_removed_empties_no_catalogue_until_it_is_encoded_anew(
    redis_client: redis.Redis, keys: Keys
) -> None:
    own, catalogue = keys.items(VERSION, 0), flat_catalogue()
    redis_client.hset(own.position, mapping={"epoch": 1, "next": 7, "ids": 1, "buckets": 1, "commits": 1})
    redis_client.hset(own.codes(0), "item", record(b"\x01\x02"))
    follower = Follower(redis_client, keys, VERSION, 1, catalogue)
    follower.start()
    try:
        assert follower.loaded.wait(30)
        remove_items(redis_client, own)
        # Twice as long as a reading of the log waits, after which it looks.
        time.sleep(2 * BLOCK_MS / 1000)
        assert catalogue.known(["item"]) == [True]
        PositionStore(redis_client, keys).claim(own.position, 0)
        deadline = time.monotonic() + 30
        while catalogue.known(["item"]) == [True]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        follower.close()
        catalogue.close()


def test_a_version_says_when_it_was_trained() -> None:
    assert trained_at("20260102T030405-0123456789ab") == 1767323045.0
    assert trained_at("by-hand") is None
    assert abs((trained_at(f"{version_prefix()}-ab") or 0) - time.time()) < 60


def test_an_index_is_as_old_as_the_last_time_that_nothing_was_missing(settings: Settings, redis_client: Any) -> None:
    keys = Keys(settings.redis.prefix)
    own = keys.items(VERSION, 0)
    redis_client.hset(own.position, mapping={"epoch": 1, "next": 7, "ids": 0, "buckets": 1, "commits": 1})
    follower = Follower(redis_client, keys, VERSION, 1, flat_catalogue())
    follower.start()
    try:
        assert follower.loaded.wait(30)
        deadline = time.monotonic() + 30
        # It looks again twice a second; while it cannot, the age grows.
        before = follower.age_s()
        while follower.age_s() >= before:
            assert time.monotonic() < deadline
            before = follower.age_s()
            time.sleep(0.02)
    finally:
        follower.close()
