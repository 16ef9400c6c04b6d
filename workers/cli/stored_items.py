"""What Redis holds of items and how it is divided, read without Kafka."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, cast

import msgspec
import numpy as np
import redis
from numpy.typing import NDArray

from schemas.events import Attribute
from schemas.keys import Keys, bucket_of
from schemas.records import CodeRecord, version_tag
from workers.lookup import StoredItem, find_item, serving_version

# The settings allow no more partitions.
MAX_PARTITIONS: Final = 1024
_BUCKETS_AT_A_TIME: Final = 256
TITLE: Final = "title"
_ATTRIBUTES: Final = msgspec.json.Decoder(dict[str, Attribute])


def partition_count(client: redis.Redis, position_key: Callable[[int], str]) -> int:
    """Return how many partitions have a position in Redis (up to the highest one); one round trip."""
    pipeline = client.pipeline(transaction=False)
    for partition in range(MAX_PARTITIONS):
        pipeline.exists(position_key(partition))
    found = pipeline.execute()
    return max((partition + 1 for partition, exists in enumerate(found) if exists), default=0)


class StoredCodes(NamedTuple):
    """The items that have a code, in the order of their ids, and the codes, uint8 ``[n, code_bytes]``."""

    ids: list[str]
    codes: NDArray[np.uint8]


class StoredItems:
    """The items under the model version that serves; ``partitions`` are counted where they are not given."""

    def __init__(self, client: redis.Redis, keys: Keys, partitions: int | None = None) -> None:
        self._redis = client
        self._keys = keys
        version = serving_version(client, keys)
        self.version = version
        if version is None:
            self._partitions = []
        else:
            if partitions is None:
                partitions = partition_count(client, lambda partition: keys.items(version, partition).position)
            self._partitions = [keys.items(version, partition) for partition in range(partitions)]

    def find(self, item_id: str) -> StoredItem | None:
        """Return what is stored of an item, None where it is not published."""
        if self.version is None:
            return None
        return find_item(self._redis, self._keys, self.version, len(self._partitions), item_id)

    def codes(self) -> StoredCodes:
        """Return all codes; a bucket is one read, and what is written meanwhile may be missing.

        Raises:
            WrongVersion: a record is of another model version.
        """
        records: dict[str, bytes] = {}
        tag = version_tag(self.version or "")
        for items in self._partitions:
            buckets = int(cast(bytes | None, self._redis.hget(items.position, "buckets")) or 1)
            for start in range(0, buckets, _BUCKETS_AT_A_TIME):
                pipeline = self._redis.pipeline(transaction=False)
                for bucket in range(start, min(start + _BUCKETS_AT_A_TIME, buckets)):
                    pipeline.hgetall(items.codes(bucket))
                for found in pipeline.execute():
                    codes = {name.decode(): CodeRecord.unpack(data, tag).code for name, data in found.items()}
                    records.update({name: code for name, code in codes.items() if code})
        ids = sorted(records)
        joined = np.frombuffer(b"".join(records[name] for name in ids), np.uint8)
        return StoredCodes(ids, joined.reshape(len(ids), -1 if ids else 0))

    def titles(self, item_ids: Sequence[str]) -> dict[str, str]:
        """Return the ``title`` attribute of those items that have one; two round trips."""
        if not item_ids or not self._partitions:
            return {}
        pipeline = self._redis.pipeline(transaction=False)
        for items in self._partitions:
            pipeline.hget(items.position, "buckets")
        counts = [int(count or 1) for count in pipeline.execute()]
        for item_id in item_ids:
            for items, count in zip(self._partitions, counts, strict=True):
                pipeline.hget(items.attributes(bucket_of(item_id, count)), item_id)
        found = cast(list[bytes | None], pipeline.execute())
        titles = {}
        for number, item_id in enumerate(item_ids):
            stored = found[number * len(counts) : (number + 1) * len(counts)]
            attributes = next((_ATTRIBUTES.decode(data) for data in stored if data), {})
            if isinstance(title := attributes.get(TITLE), str):
                titles[item_id] = title
        return titles
