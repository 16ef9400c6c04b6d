"""The Lua calls, against a real Redis."""

import time

import numpy as np
import pytest
import redis

from schemas.documents import Recommendations, recommendation_order
from schemas.keys import Keys
from schemas.settings import Settings
from workers.delivery import Batch, FinishedList, ListWriter, Moved, Position, PositionStore, Refused


@pytest.fixture
def keys(settings: Settings) -> Keys:
    return Keys(settings.redis.prefix)


@pytest.fixture
def store(redis_client: redis.Redis, keys: Keys) -> PositionStore:
    return PositionStore(redis_client, keys)


def _batch(keys: Keys, value: str) -> Batch:
    users = keys.users(0)
    batch = Batch(users.position)
    batch.set_fields(users.histories(0), {"anna": value.encode()})
    return batch


def test_first_claim_begins_at_the_beginning_and_later_ones_at_the_position(store: PositionStore, keys: Keys) -> None:
    first = store.claim(keys.users(0).position, 17)
    assert (first.next, first.ids, first.buckets) == (17, 0, 1)
    store.commit(_batch(keys, "a"), first, 20)
    second = store.claim(keys.users(0).position, 17)
    assert second.next == 20
    assert second.epoch > first.epoch


def test_epochs_of_different_partitions_never_repeat(store: PositionStore, keys: Keys) -> None:
    epochs = [store.claim(keys.users(partition % 3).position, 0).epoch for partition in range(9)]
    assert epochs == sorted(set(epochs))


def test_zombie_is_refused_and_writes_nothing(store: PositionStore, keys: Keys, redis_client: redis.Redis) -> None:
    zombie = store.claim(keys.users(0).position, 0)
    owner = store.claim(keys.users(0).position, 0)
    store.commit(_batch(keys, "owner"), owner, 5)
    with pytest.raises(Refused, match=f"epoch {zombie.epoch} is over"):
        store.commit(_batch(keys, "zombie"), zombie, 9)
    assert redis_client.hget(keys.users(0).histories(0), "anna") == b"owner"
    assert redis_client.hget(keys.users(0).position, "next") == b"5"


def test_batch_whose_answer_was_lost_is_not_written_twice(
    store: PositionStore, keys: Keys, redis_client: redis.Redis
) -> None:
    position = store.claim(keys.users(0).position, 0)
    retried = Position(position.epoch, position.next, position.ids, position.buckets, position.commits)
    batch = Batch(keys.users(0).position)
    batch.add(keys.users(0).popularity, "DECAY", 10, "film", 3.0)
    store.commit(batch, position, 1)
    with pytest.raises(Moved, match="position is 1 after 1 commits, the batch begins at 0 after 0 commits"):
        store.commit(batch, retried, 1)
    assert redis_client.zscore(keys.users(0).popularity, "film") == 3.0


def test_a_restore_shows_also_where_the_position_has_not_moved(
    store: PositionStore, keys: Keys, redis_client: redis.Redis
) -> None:
    key = keys.users(0).position
    position = store.claim(key, 0)
    store.commit(_batch(keys, "a"), position, 5)
    backup = redis_client.dump(key) or b""
    store.commit(_batch(keys, "b"), position, 5)
    assert store.standing([key]) == [(position.epoch, 5, 2)]
    redis_client.restore(key, 0, backup, replace=True)
    with pytest.raises(Moved, match="position is 5 after 1 commits, the batch begins at 5 after 2 commits"):
        store.commit(_batch(keys, "c"), position, 5)
    assert store.standing([key, keys.users(1).position]) == [(position.epoch, 5, 1), (-1, -1, -1)]
    assert redis_client.hget(keys.users(0).histories(0), "anna") == b"b"


def test_claim_passes_a_counter_that_a_restore_set_back(
    store: PositionStore, keys: Keys, redis_client: redis.Redis
) -> None:
    position = store.claim(keys.users(0).position, 0)
    for _ in range(5):
        position = store.claim(keys.users(0).position, 0)
    redis_client.set(keys.epoch, 1)
    assert store.claim(keys.users(0).position, 0).epoch > position.epoch


def test_epochs_stay_newer_when_all_of_redis_is_set_back(
    store: PositionStore, keys: Keys, redis_client: redis.Redis
) -> None:
    """A list that an owner wrote into the restored Redis, with the epoch it had before, must not outrank later ones."""
    names = [keys.epoch, keys.users(0).position]
    store.claim(keys.users(0).position, 0)
    before = [redis_client.dump(name) or b"" for name in names]
    given = [store.claim(keys.users(0).position, 0).epoch for _ in range(8)]
    for name, stored in zip(names, before, strict=True):
        redis_client.restore(name, 0, stored, replace=True)
    # Eight claims in less than 8 ms would be ahead of the clock; no restart of Redis is as fast.
    time.sleep(0.02)
    assert store.claim(keys.users(0).position, 0).epoch > max(given)


def test_decay_adds_weights_as_logarithms(store: PositionStore, keys: Keys, redis_client: redis.Redis) -> None:
    position = store.claim(keys.users(0).position, 0)
    terms = [1500.25, 1499.0, 1503.5, 12.0, 1503.5]
    batch = Batch(keys.users(0).position)
    for term in terms:
        batch.add(keys.users(0).popularity, "DECAY", 10, "film", term)
    store.commit(batch, position, 1)
    expected = np.logaddexp2.reduce(np.array(terms))
    assert redis_client.zscore(keys.users(0).popularity, "film") == pytest.approx(expected, abs=1e-12)


def test_decay_keeps_the_most_popular_within_the_limit(
    store: PositionStore, keys: Keys, redis_client: redis.Redis
) -> None:
    position = store.claim(keys.users(0).position, 0)
    batch = Batch(keys.users(0).position)
    batch.add(keys.users(0).popularity, "DECAY", 2, "old", 1.0, "newer", 5.0, "newest", 9.0, "older", 0.5)
    store.commit(batch, position, 1)
    assert redis_client.zrange(keys.users(0).popularity, 0, -1) == [b"newer", b"newest"]


def test_large_hash_is_written_in_several_commands(store: PositionStore, keys: Keys, redis_client: redis.Redis) -> None:
    position = store.claim(keys.users(0).position, 0)
    batch = Batch(keys.users(0).position)
    batch.set_fields(keys.users(0).histories(0), {f"user{n}": b"x" for n in range(20_000)})
    store.commit(batch, position, 1)
    assert redis_client.hlen(keys.users(0).histories(0)) == 20_000


def test_older_list_never_replaces_a_newer_one(keys: Keys, redis_client: redis.Redis) -> None:
    import msgspec

    writer = ListWriter(redis_client)

    def write(epoch: int, offset: int, item: str) -> int:
        order = recommendation_order(epoch, offset)
        document = Recommendations(order, "anna", "v1", "model", 0.0, [item], [1.0])
        return writer.write([FinishedList(keys.recommendations("anna"), msgspec.json.encode(document), order)])

    assert write(7, 100, "first") == 0
    assert write(6, 900, "zombie") == 1
    assert write(7, 99, "stale") == 1
    assert write(7, 100, "again") == 0
    assert write(8, 3, "next owner") == 0
    stored = redis_client.get(keys.recommendations("anna"))
    assert isinstance(stored, bytes)
    assert msgspec.json.decode(stored)["items"] == ["next owner"]
