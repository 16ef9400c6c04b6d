"""The writes of one batch of one partition of ``items``: buckets, change log and position."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import redis

from schemas.keys import ITEMS_PER_BUCKET, ItemKeys
from schemas.records import LogEntry
from workers import buckets
from workers.delivery import Batch, Position
from workers.tracing import TRACEPARENT


@dataclass(slots=True)
class ItemBatch:
    """What to commit, and the counts of the position when that is done."""

    batch: Batch
    ids: int
    buckets: int

    def applied(self, position: Position) -> None:
        """Take the counts over into ``position`` after the commit."""
        position.ids, position.buckets = self.ids, self.buckets


def item_batch(
    client: redis.Redis,
    keys: ItemKeys,
    position: Position,
    following: int,
    changes: Iterable[tuple[str, bool]],
    records: dict[str, bytes | None],
    attributes: dict[str, bytes | None],
    log_events: int,
    traceparent: str | None = None,
) -> ItemBatch:
    """Return the writes that take a partition from ``position`` to the offset ``following``.

    ``changes`` are all events in their order, each an item id and whether the item exists after it.
    ``records`` holds the outcome for each of these ids and ``attributes`` for those that have or had any, None for
    what is to be removed.
    ``log_events`` is about how many offsets the change log reaches back.
    ``traceparent`` names the span that this is part of.
    """
    batch = Batch(keys.position)
    ids, count = position.ids, position.buckets
    if records:
        stored = buckets.read_fields(client, keys.codes, list(records), count)
        ids, count = buckets.buckets_needed(position, _counted(changes, stored), ITEMS_PER_BUCKET)
        if count > position.buckets:
            buckets.split(client, batch, [keys.codes, keys.attributes], position.buckets, count)
        buckets.write(batch, keys.codes, records, count)
        buckets.write(batch, keys.attributes, attributes, count)
        batch.add(keys.position, "HSET", "ids", ids, "buckets", count)
    # Also an empty entry: followers see by `base` whether they have missed one. Its id is the position
    # after it, so that readers compare positions, not clocks.
    packed = [record or b"" for record in records.values()]
    entry = LogEntry(position.next, list(records), packed, [attributes.get(name) or b"" for name in records])
    oldest = max(following - log_events, 0)
    fields: list[str | bytes] = ["batch", entry.pack()]
    if traceparent is not None:
        fields += [TRACEPARENT, traceparent]
    batch.add(keys.log, "XADD", "MINID", "~", oldest, _entry_id(following), *fields)
    return ItemBatch(batch, ids, count)


def shortened_log(keys: ItemKeys, oldest: int, position: Position) -> Batch:
    """Return what removes from the change log all entries that end before the offset ``oldest``.

    Where that is the position itself, an empty entry takes the place of the whole log: a follower that has
    missed some of what it held sees so by its ``base``.
    """
    batch = Batch(keys.position)
    if oldest < position.next:
        batch.add(keys.log, "XTRIM", "MINID", oldest)
    elif position.next > 0:
        batch.add(keys.log, "DEL")
        batch.add(keys.log, "XADD", _entry_id(position.next), "batch", LogEntry(position.next, [], [], []).pack())
    return batch


def _entry_id(following: int) -> str:
    return f"{following}-0"


def _counted(changes: Iterable[tuple[str, bool]], stored: dict[str, bytes | None]) -> list[int]:
    """Return +1 for each change that adds an item and -1 for each that removes one, in order."""
    exists = {name: value is not None for name, value in stored.items()}
    counted = []
    for name, now in changes:
        counted.append(now - exists[name])
        exists[name] = now
    return counted
