"""Items written to Redis as an encoder writes them, without Kafka and without a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import redis
from kafka.partitioner.default import murmur2
from numpy.typing import NDArray

from schemas.keys import Keys
from schemas.records import pack_codes, version_tag
from schemas.settings import Settings
from workers.delivery import PositionStore
from workers.items import item_batch

_SEED: Final = 0


def store_items(
    client: redis.Redis,
    settings: Settings,
    version: str,
    ids: Sequence[str],
    codes: NDArray[np.uint8],
    attributes: Sequence[bytes] | None = None,
    advance: Callable[[int], None] = lambda done: None,  # noqa: ARG005
) -> None:
    """Store an item for each of ``ids`` under ``version``, with a code of uint8 ``[n, code_bytes]``.

    Partition after partition in batches of the usual size; ``attributes`` are JSON. ``advance`` is told how many are
    stored.
    """
    count = len(ids)
    errors = np.random.default_rng(_SEED).lognormal(size=count).astype(np.float32)
    flags = np.ones(count, bool), np.zeros(count, bool)
    packed = pack_codes(version_tag(version), *flags, errors, np.full(count, np.nan, np.float32), codes)
    keys = Keys(settings.redis.prefix)
    store = PositionStore(client, keys)
    rows: list[list[int]] = [[] for _ in range(settings.kafka.partitions)]
    for row, item_id in enumerate(ids):
        rows[partition_of(item_id, len(rows))].append(row)
    done = 0
    for partition, own in enumerate(rows):
        place = keys.items(version, partition)
        position = store.claim(place.position, 0)
        for start in range(0, len(own), settings.events.batch):
            some = own[start : start + settings.events.batch]
            records: dict[str, bytes | None] = {ids[row]: packed[row] for row in some}
            documents: dict[str, bytes | None] = {ids[row]: attributes[row] for row in some} if attributes else {}
            following = position.next + len(some)
            changes = [(name, True) for name in records]
            log_events = settings.recommend.log_events
            writes = item_batch(client, place, position, following, changes, records, documents, log_events)
            store.commit(writes.batch, position, following)
            writes.applied(position)
            done += len(some)
            advance(done)


def partition_of(identifier: str, partitions: int) -> int:
    """Return the partition that Kafka's producers choose for a key."""
    return int((murmur2(identifier.encode()) & 0x7FFFFFFF) % partitions)
