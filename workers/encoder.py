"""``items`` -> batch -> encode -> compress -> Redis buckets and change log."""

from __future__ import annotations

import msgspec
import numpy as np
import redis
from kafka import KafkaConsumer

from models.bundle import Bundle
from schemas.keys import Keys
from schemas.records import CodeRecord, LogEntry
from schemas.settings import Settings
from workers import buckets, metrics
from workers.dead_letters import DeadLetters
from workers.decoding import Decoded, ItemChange, decode_records, item_decoder
from workers.delivery import Batch, PositionStore
from workers.source import PartitionRecords, Source

_NO_CODE = (0.0, b"")


class Encoder:
    """Keeps the codes of the catalogue under one model version."""

    def __init__(
        self,
        settings: Settings,
        client: redis.Redis,
        consumer: KafkaConsumer,
        dead_letters: DeadLetters,
        bundle: Bundle,
    ) -> None:
        keys = Keys(settings.redis.prefix)
        self._keys = keys
        self._version = bundle.version
        self._redis = client
        self._dead_letters = dead_letters
        self._content = bundle.content
        self._log_length = settings.recommend.log_length
        self._decode = item_decoder(settings.events.max_bytes, bundle.content.input_shape if bundle.content else None)
        self.source = Source(
            consumer,
            settings.kafka.items_topic,
            PositionStore(client, keys),
            lambda partition: keys.items(bundle.version, partition).position,
        )

    def step(self, batches: list[PartitionRecords]) -> None:
        """Encode and store ``batches``: the steps of ``workers.delivery``."""
        with metrics.STAGE_SECONDS.labels("decode").time():
            decoded, rejected = decode_records(batches, self._decode)
            # Only the last change of an item in its partition is worth encoding.
            latest = [list({change.item_id: change for change in part.changes}.values()) for part in decoded]
        with metrics.STAGE_SECONDS.labels("encode").time():
            records = iter(self._records([change for changes in latest for change in changes]))
        with metrics.STAGE_SECONDS.labels("dead_letters").time():
            self._dead_letters.publish(rejected)
        with metrics.STAGE_SECONDS.labels("commit").time():
            for part, changes in zip(decoded, latest, strict=True):
                self._commit(part, changes, {change.item_id: next(records) for change in changes})
        total = sum(part.total for part in decoded)
        metrics.BATCH_EVENTS.observe(total)
        self._dead_letters.check_limit(total, rejected)

    def between(self) -> bool:
        """Nothing else to do."""
        return False

    def _records(self, changes: list[ItemChange]) -> list[bytes | None]:
        """Return the packed record of each change, None for a deletion; one call of the model for all."""
        encodable = {n: change.vector for n, change in enumerate(changes) if change.vector is not None}
        encoded = {}
        if encodable and self._content is not None:
            codes, errors = self._content.encode(np.stack(list(encodable.values())))
            encoded = {n: (float(errors[row]), codes[row].tobytes()) for row, n in enumerate(encodable)}
        return [
            CodeRecord(change.event.available, *encoded.get(n, _NO_CODE)).pack() if change.event is not None else None
            for n, change in enumerate(changes)
        ]

    def _commit(self, part: Decoded[ItemChange], latest: list[ItemChange], records: dict[str, bytes | None]) -> None:
        keys = self._keys.items(self._version, part.owned.partition)
        batch = Batch(keys.position)
        position = part.owned.position
        ids, bucket_count = position.ids, position.buckets
        if latest:
            stored = buckets.read_fields(self._redis, keys.codes, list(records), position.buckets)
            ids, bucket_count = buckets.buckets_needed(position, _counted(part.changes, stored))
            if bucket_count > position.buckets:
                names = [keys.codes, keys.attributes]
                buckets.split(self._redis, batch, names, position.buckets, bucket_count)
            buckets.write(batch, keys.codes, records, bucket_count)
            buckets.write(batch, keys.attributes, _attributes(latest), bucket_count)
            batch.add(keys.position, "HSET", "ids", ids, "buckets", bucket_count)
        # Also an empty entry: followers see by `base` whether they have missed one. Its id is the
        # position after it, so that readers compare positions, not clocks.
        entry = LogEntry(position.next, list(records), [record or b"" for record in records.values()])
        log_id = f"{part.following}-0"
        batch.add(keys.log, "XADD", "MAXLEN", "~", self._log_length, log_id, "batch", entry.pack())
        if self.source.commit(batch, part.owned, part.following):
            position.ids, position.buckets = ids, bucket_count
            metrics.EVENTS.labels("items").inc(part.total)


def _attributes(changes: list[ItemChange]) -> dict[str, bytes | None]:
    """Return each item's attributes as JSON, None where there are none."""
    return {
        change.item_id: msgspec.json.encode(change.event.attributes)
        if change.event is not None and change.event.attributes
        else None
        for change in changes
    }


def _counted(changes: list[ItemChange], stored: dict[str, bytes | None]) -> list[int]:
    """Return +1 for each change that adds an item and -1 for each that removes one, in order."""
    exists = {name: value is not None for name, value in stored.items()}
    counted = []
    for change in changes:
        now = change.event is not None
        counted.append(now - exists[change.item_id])
        exists[change.item_id] = now
    return counted
