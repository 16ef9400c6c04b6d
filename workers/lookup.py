"""Finding an item or a user by id in Redis, whatever partition a producer put it in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import msgspec
import redis

from schemas.events import Attribute
from schemas.keys import Keys, bucket_of
from schemas.records import CodeRecord, History, unpack_history, version_tag


class StoredItem(NamedTuple):
    """An item as it stands in Redis."""

    partition: int
    record: CodeRecord
    attributes: dict[str, Attribute]


def current_version(client: redis.Redis, keys: Keys) -> str | None:
    """Return the version of the current model, None before the first one."""
    version = cast(bytes | None, client.hget(keys.model, "version"))
    # What is no UTF-8 is no name of a version, and is refused as such.
    return version.decode(errors="replace") if version else None


def serving_version(client: redis.Redis, keys: Keys) -> str | None:
    """Return the version under which the items are encoded, None before the first: see :mod:`workers.versions`."""
    serving = cast(bytes | None, client.hget(keys.model, "serving"))
    return serving.decode(errors="replace") if serving else current_version(client, keys)


def find_histories(client: redis.Redis, keys: Keys, partitions: int, user_ids: Sequence[str]) -> list[History]:
    """Return the history of each user, empty for an unknown one; two round trips, none for nobody."""
    if not user_ids:
        return []
    by_partition = [keys.users(partition) for partition in range(partitions)]
    counts = _bucket_counts(client, [users.position for users in by_partition])
    pipeline = client.pipeline(transaction=False)
    for user_id in user_ids:
        for users, count in zip(by_partition, counts, strict=True):
            pipeline.hget(users.histories(bucket_of(user_id, count)), user_id)
    found = pipeline.execute()
    rows = [found[start : start + partitions] for start in range(0, len(found), partitions)]
    return [unpack_history(next(filter(None, row), None)) for row in rows]


def some_histories(client: redis.Redis, keys: Keys, partitions: int, count: int) -> list[History]:
    """Return about ``count`` histories, or all where there are fewer: those that a hash has put in the first buckets."""
    found: list[History] = []
    for partition in range(partitions):
        users = keys.users(partition)
        (buckets,) = _bucket_counts(client, [users.position])
        for bucket in range(buckets):
            if len(found) >= count * (partition + 1) / partitions:
                break
            found += map(unpack_history, cast(dict[bytes, bytes], client.hgetall(users.histories(bucket))).values())
    return found


def find_item(client: redis.Redis, keys: Keys, version: str, partitions: int, item_id: str) -> StoredItem | None:
    """Return what is stored of an item, None where it is not published.

    Raises:
        ValueError: what is stored is no code record, or (WrongVersion) one of another model version.
    """
    by_partition = [keys.items(version, partition) for partition in range(partitions)]
    counts = _bucket_counts(client, [items.position for items in by_partition])
    pipeline = client.pipeline(transaction=False)
    for items, count in zip(by_partition, counts, strict=True):
        pipeline.hget(items.codes(bucket_of(item_id, count)), item_id)
        pipeline.hget(items.attributes(bucket_of(item_id, count)), item_id)
    found = pipeline.execute()
    for partition in range(partitions):
        code, attributes = found[2 * partition : 2 * partition + 2]
        if code:
            decoded = msgspec.json.decode(attributes, type=dict[str, Attribute]) if attributes else {}
            return StoredItem(partition, CodeRecord.unpack(code, version_tag(version)), decoded)
    return None


def _bucket_counts(client: redis.Redis, positions: Sequence[str]) -> list[int]:
    pipeline = client.pipeline(transaction=False)
    for position in positions:
        pipeline.hget(position, "buckets")
    return [int(count or 1) for count in pipeline.execute()]
