"""The layout of the buckets depends on the events alone, not on how they were cut into batches."""

import random
from typing import Any

import pytest
import redis

from schemas.keys import ITEMS_PER_BUCKET, Keys, bucket_of
from schemas.settings import Settings
from workers import buckets
from workers.delivery import Batch, PositionStore


def _apply(client: Any, keys: Keys, events: list[tuple[str, bytes | None]], cuts: list[int]) -> None:
    """Write ``events`` in batches that end at ``cuts``."""
    store = PositionStore(client, keys)
    users = keys.users(0)
    position = store.claim(users.position, 0)
    for start, end in zip([0, *cuts], [*cuts, len(events)], strict=True):
        part = events[start:end]
        latest = dict(part)
        exists = {
            name: value is not None
            for name, value in buckets.read_fields(client, users.histories, list(latest), position.buckets).items()
        }
        changes = []
        for name, value in part:
            changes.append((value is not None) - exists[name])
            exists[name] = value is not None
        ids, count = buckets.buckets_needed(position, changes, ITEMS_PER_BUCKET)
        batch = Batch(users.position)
        if count > position.buckets:
            buckets.split(client, batch, [users.histories], position.buckets, count)
        buckets.write(batch, users.histories, latest, count)
        store.commit(batch, position, end)
        position.ids, position.buckets = ids, count
    for bucket in range(position.buckets):
        stored = client.hgetall(users.histories(bucket))
        assert {bucket_of(name.decode(), position.buckets) for name in stored} <= {bucket}


def _dump(client: Any, keys: Keys) -> dict[str, dict[bytes, bytes]]:
    pattern = keys.users(0).histories(0).rsplit(":", 1)[0] + ":*"
    names = sorted(client.scan_iter(match=pattern.replace("{", r"\{").replace("}", r"\}")))
    return {name.decode().removeprefix(keys.prefix): dict(client.hgetall(name)) for name in names}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_same_layout_whatever_the_batches(settings: Settings, redis_client: redis.Redis, seed: int) -> None:
    rng = random.Random(seed)
    events: list[tuple[str, bytes | None]] = []
    for n in range(1200):
        name = f"item-{rng.randrange(700)}"
        events.append((name, None if rng.random() < 0.3 else f"value-{n}".encode()))
    one, many = Keys(settings.redis.prefix + "-one"), Keys(settings.redis.prefix + "-many")
    _apply(redis_client, one, events, [])
    _apply(redis_client, many, events, sorted(rng.sample(range(1, len(events)), 40)))
    alive = {name for name, value in dict(events).items() if value is not None}
    stored = _dump(redis_client, one)
    assert {field.decode() for fields in stored.values() for field in fields} == alive
    assert stored == _dump(redis_client, many)


def test_buckets_stay_in_the_compact_encoding(settings: Settings, redis_client: redis.Redis) -> None:
    keys = Keys(settings.redis.prefix)
    events: list[tuple[str, bytes | None]] = [(f"item-{n}", b"x" * 35) for n in range(5000)]
    _apply(redis_client, keys, events, list(range(500, 5000, 500)))
    users = keys.users(0)
    count = -(-len(events) // ITEMS_PER_BUCKET)
    encodings = {redis_client.object("encoding", users.histories(bucket)) for bucket in range(count)}
    assert encodings == {b"listpack"}
