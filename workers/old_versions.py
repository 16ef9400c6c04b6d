"""What Redis holds under a model version, and its removal."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

import redis

from schemas.keys import Keys

_KEYS_AT_A_TIME: Final = 1000
# The settings allow no more partitions.
_PARTITIONS: Final = 1024


def remove_keys(client: redis.Redis, keys: Keys, version: str) -> int:
    """Remove all codes, attributes, logs and positions under ``version``, and return how many keys that were.

    Redis frees their memory beside its other work. The version must not be in use.
    """
    removed = 0
    names = _keys(client, keys, version)
    while some := list(islice(names, _KEYS_AT_A_TIME)):
        removed += client.unlink(*some)
    return removed


def _keys(client: redis.Redis, keys: Keys, version: str) -> Iterator[str]:
    """Yield all keys under ``version``, the position of a partition last: it says how many buckets there are."""
    items = [keys.items(version, partition) for partition in range(_PARTITIONS)]
    users = [keys.users(partition) for partition in range(_PARTITIONS)]
    counts = _bucket_counts(client, [one.position for one in items] + [one.position for one in users])
    for item, count in zip(items, counts[:_PARTITIONS], strict=True):
        for bucket in range(count):
            yield item.codes(bucket)
            yield item.attributes(bucket)
        if count:
            yield item.log
            yield item.position
    for user, count in zip(users, counts[_PARTITIONS:], strict=True):
        for bucket in range(count):
            yield user.codes(version, bucket)


def _bucket_counts(client: redis.Redis, positions: list[str]) -> list[int]:
    pipeline = client.pipeline(transaction=False)
    for position in positions:
        pipeline.hget(position, "buckets")
    return [int(count or 0) for count in pipeline.execute()]
