"""What Redis holds under a model version, and its removal, which may be interrupted anywhere.

A partition's position is set aside first (``removed``). From then on whoever encodes under the version begins anew:
before a claim it ends the removal, and a removal that goes on elsewhere sees the new position and stops.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, cast

import redis

from schemas.keys import ItemKeys, Keys

_KEYS_AT_A_TIME: Final = 1000
# The settings allow no more partitions.
_PARTITIONS: Final = 1024
# KEYS: the position, and where it is set aside.
_SET_ASIDE: Final = "if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('RENAME', KEYS[1], KEYS[2]) end"
# KEYS: the position, and what to remove while there is none. -1: there is one.
_REMOVE: Final = """
if redis.call('EXISTS', KEYS[1]) == 1 then return -1 end
return redis.call('UNLINK', unpack(KEYS, 2))
"""


def remove_keys(client: redis.Redis, keys: Keys, version: str) -> int:
    """Remove all codes, attributes, logs and positions under ``version``, and return how many keys that were.

    Redis frees their memory beside its other work. The version must not be in use.
    """
    removed = sum(remove_items(client, keys.items(version, partition)) for partition in _stored(client, keys, version))
    names = _user_codes(client, keys, version)
    while some := list(islice(names, _KEYS_AT_A_TIME)):
        removed += client.unlink(*some)
    return removed


def remove_items(client: redis.Redis, keys: ItemKeys) -> int:
    """Remove what is stored of one partition of the items under a version, and return how many keys that were."""
    client.eval(_SET_ASIDE, 2, keys.position, keys.removed)
    return finish_removal(client, keys)


def finish_removal(client: redis.Redis, keys: ItemKeys) -> int:
    """End a removal that was begun, if one was; call it before the partition is claimed."""
    buckets = cast(bytes | None, client.hget(keys.removed, "buckets"))
    if buckets is None:
        return 0
    removed = 0
    names = _item_keys(keys, int(buckets))
    while some := list(islice(names, _KEYS_AT_A_TIME)):
        count = int(client.eval(_REMOVE, 1 + len(some), keys.position, *some))
        if count < 0:
            break
        removed += count
    return removed


def remains(client: redis.Redis, keys: Keys, version: str, partitions: Iterable[int]) -> bool:
    """Return whether anything is stored of the items in ``partitions`` under a version."""
    names = [keys.items(version, partition) for partition in partitions]
    return bool(client.exists(*(key for own in names for key in (own.position, own.removed))))


def _item_keys(keys: ItemKeys, buckets: int) -> Iterator[str]:
    for bucket in range(buckets):
        yield keys.codes(bucket)
        yield keys.attributes(bucket)
    yield keys.log
    # Last: it says what there is to remove.
    yield keys.removed


def _stored(client: redis.Redis, keys: Keys, version: str) -> list[int]:
    """Return the partitions of the items of which something is stored under ``version``."""
    pipeline = client.pipeline(transaction=False)
    for partition in range(_PARTITIONS):
        own = keys.items(version, partition)
        pipeline.exists(own.position, own.removed)
    return [partition for partition, count in enumerate(pipeline.execute()) if count]


def _user_codes(client: redis.Redis, keys: Keys, version: str) -> Iterator[str]:
    users = [keys.users(partition) for partition in range(_PARTITIONS)]
    pipeline = client.pipeline(transaction=False)
    for own in users:
        pipeline.hget(own.position, "buckets")
    for own, count in zip(users, pipeline.execute(), strict=True):
        for bucket in range(int(count or 0)):
            yield own.codes(version, bucket)
