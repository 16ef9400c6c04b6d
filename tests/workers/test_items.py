"""What the encoder writes of a batch, and how the change log stays small."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from schemas.keys import ItemKeys, Keys
from schemas.records import LogEntry
from schemas.settings import Settings
from tests.workers.flat import VERSION
from workers import encoder as encoder_module
from workers.delivery import Position, PositionStore
from workers.encoder import Encoder
from workers.items import item_batch, shortened_log
from workers.source import Owned


@pytest.fixture
def keys(settings: Settings) -> ItemKeys:
    return Keys(settings.redis.prefix).items(VERSION, 0)


@pytest.fixture
def store(redis_client: redis.Redis, settings: Settings) -> PositionStore:
    return PositionStore(redis_client, Keys(settings.redis.prefix))


def write(
    client: redis.Redis, store: PositionStore, keys: ItemKeys, position: Position, ids: Sequence[str], log_events: int
) -> None:
    records: dict[str, bytes | None] = {name: name.encode() for name in ids}
    changes = [(name, True) for name in ids]
    following = position.next + len(ids)
    writes = item_batch(client, keys, position, following, changes, records, {}, log_events)
    store.commit(writes.batch, position, following)
    writes.applied(position)


def entries(client: Any, keys: ItemKeys) -> list[tuple[bytes, LogEntry]]:
    return [(entry_id, LogEntry.unpack(fields[b"batch"])) for entry_id, fields in client.xrange(keys.log)]


def test_log_reaches_back_a_number_of_events_however_large_the_batches(
    redis_client: redis.Redis, store: PositionStore, keys: ItemKeys
) -> None:
    position = store.claim(keys.position, 0)
    for start in range(0, 20_000, 500):
        write(redis_client, store, keys, position, [f"item-{n}" for n in range(start, start + 500)], 2_000)
    assert 2_000 <= sum(len(entry.ids) for _, entry in entries(redis_client, keys)) <= 2_500
    for n in range(5_000):
        write(redis_client, store, keys, position, [f"item-{n}"], 2_000)
    kept = entries(redis_client, keys)
    # Redis removes whole blocks of at most 100 entries.
    assert 2_000 <= len(kept) <= 2_101
    assert kept[-1][0] == b"25000-0"


def test_batch_longer_than_the_log_is_in_it(redis_client: redis.Redis, store: PositionStore, keys: ItemKeys) -> None:
    position = store.claim(keys.position, 0)
    write(redis_client, store, keys, position, [f"item-{n}" for n in range(50)], 10)
    assert [len(entry.ids) for _, entry in entries(redis_client, keys)] == [50]


def test_shortened_log_keeps_what_ends_later(redis_client: redis.Redis, store: PositionStore, keys: ItemKeys) -> None:
    position = store.claim(keys.position, 0)
    for name in "abcd":
        write(redis_client, store, keys, position, [name], 100)
    store.commit(shortened_log(keys, 3, position), position, 4)
    assert [entry_id for entry_id, _ in entries(redis_client, keys)] == [b"3-0", b"4-0"]


def test_idle_log_becomes_an_empty_entry_and_goes_on_from_there(
    redis_client: redis.Redis, store: PositionStore, keys: ItemKeys
) -> None:
    position = store.claim(keys.position, 0)
    store.commit(shortened_log(keys, 0, position), position, 0)
    assert entries(redis_client, keys) == []
    write(redis_client, store, keys, position, ["a", "b"], 100)
    for _ in range(2):
        store.commit(shortened_log(keys, 2, position), position, 2)
        assert entries(redis_client, keys) == [(b"2-0", LogEntry(2, [], [], []))]
    write(redis_client, store, keys, position, ["c"], 100)
    assert entries(redis_client, keys)[1:] == [(b"3-0", LogEntry(2, ["c"], [b"c"], [b""]))]


class SilentConsumer:
    """A consumer without a broker: the encoder under test is never given records."""

    def subscribe(self, topics: list[str], listener: Any) -> None: ...

    def assignment(self) -> set[Any]:
        return set()

    def pause(self, *partitions: Any) -> None:
        raise KeyError(partitions)


def test_encoder_shortens_the_logs_of_idle_partitions(
    settings: Settings,
    redis_client: redis.Redis,
    store: PositionStore,
    keys: ItemKeys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle: Any = SimpleNamespace(version=VERSION, content=None)
    unused: Any = None
    encoder = Encoder(settings, redis_client, SilentConsumer(), unused, unused, bundle)
    position = store.claim(keys.position, 0)
    encoder.source.owned[0] = Owned(0, keys.position, position)
    write(redis_client, store, keys, position, ["a"], 100)

    encoder.between()
    write(redis_client, store, keys, position, ["b"], 100)
    encoder.between()
    assert [entry.ids for _, entry in entries(redis_client, keys)] == [["a"], ["b"]], "it is not the time yet"
    monkeypatch.setattr(encoder_module, "LOG_AGE_S", 0.0)
    encoder._shorten_due = 0.0
    # What was there at the first look goes at the second, but for the entry that ends there.
    write(redis_client, store, keys, position, ["c"], 100)
    encoder.between()
    encoder.between()
    assert entries(redis_client, keys) == [(b"3-0", LogEntry(3, [], [], []))]

    store.claim(keys.position, 0)
    encoder.between()
    assert encoder.source.owned == {}, "another worker has the partition now, and this one must not touch the log"
