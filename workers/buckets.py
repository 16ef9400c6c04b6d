"""Hashes that grow a bucket at a time, so that Redis keeps each in its compact encoding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import redis

from schemas.keys import bucket_of, split_source
from workers.delivery import MAX_ARGUMENTS, Batch, Position

BucketKey = Callable[[int], str]


class Read(NamedTuple):
    """Fields to read: the ids in the hashes called ``key``, of which there are ``buckets``."""

    key: BucketKey
    identifiers: Sequence[str]
    buckets: int


def read_all(client: redis.Redis, reads: Sequence[Read]) -> list[dict[str, bytes | None]]:
    """Return the stored value of each id of each read, None where there is none; one round trip."""
    grouped = [_grouped(read.identifiers, read.buckets) for read in reads]
    pipeline = client.pipeline(transaction=False)
    for read, by_bucket in zip(reads, grouped, strict=True):
        for bucket, ids in by_bucket.items():
            pipeline.hmget(read.key(bucket), ids)
    replies = iter(pipeline.execute())
    found: list[dict[str, bytes | None]] = []
    for by_bucket in grouped:
        values: dict[str, bytes | None] = {}
        for ids in by_bucket.values():
            values.update(zip(ids, next(replies), strict=True))
        found.append(values)
    return found


def read_fields(
    client: redis.Redis, key: BucketKey, identifiers: Sequence[str], buckets: int
) -> dict[str, bytes | None]:
    """Return the stored value of each id, None where there is none; one round trip."""
    return read_all(client, [Read(key, identifiers, buckets)])[0]


def buckets_needed(position: Position, changes: Iterable[int], ids_per_bucket: int) -> tuple[int, int]:
    """Return ``(ids, buckets)`` after ``changes``: +1 for each new id and -1 for each removed, in order.

    There is a bucket for every ``ids_per_bucket`` ids. Buckets follow the highest count on the way, not the
    one at the end, so that the result does not depend on how a stream was cut into batches.
    """
    ids = peak = position.ids
    for change in changes:
        ids += change
        peak = max(peak, ids)
    return ids, max(position.buckets, -(-peak // ids_per_bucket))


def split(client: redis.Redis, batch: Batch, names: Sequence[BucketKey], before: int, after: int) -> None:
    """Add to ``batch`` what takes the hashes called ``names`` from ``before`` buckets to ``after``.

    Only the owner of the partition writes to its buckets, so what is read here still holds at the commit.
    """
    roots = set()
    for bucket in range(before, after):
        root = bucket
        while root >= before:
            root = split_source(root)
        roots.add(root)
    for key in names:
        pipeline = client.pipeline(transaction=False)
        for root in sorted(roots):
            pipeline.hgetall(key(root))
        for root, stored in zip(sorted(roots), pipeline.execute(), strict=True):
            if stored:
                batch.add(key(root), "DEL")
                write(batch, key, {name.decode(): value for name, value in stored.items()}, after)


def write(batch: Batch, key: BucketKey, values: dict[str, Any], buckets: int) -> None:
    """Add to ``batch`` the writing of each value, and the removal of each id whose value is None."""
    for bucket, ids in _grouped(values, buckets).items():
        batch.set_fields(key(bucket), {name: values[name] for name in ids if values[name] is not None})
        removed = [name for name in ids if values[name] is None]
        for start in range(0, len(removed), MAX_ARGUMENTS):
            batch.add(key(bucket), "HDEL", *removed[start : start + MAX_ARGUMENTS])


def _grouped(identifiers: Iterable[str], buckets: int) -> dict[int, list[str]]:
    by_bucket: dict[int, list[str]] = defaultdict(list)
    for identifier in identifiers:
        by_bucket[bucket_of(identifier, buckets)].append(identifier)
    return by_bucket
