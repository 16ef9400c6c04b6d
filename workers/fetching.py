"""What a consumer holds of what it has fetched is bounded, whatever producers have written.

kafka-python 3.0.12 bounds what it fetches by its compressed size and a poll by the number of records, so that a
megabyte of batches may become gigabytes, and each start of the worker would end the same way. Here

- a batch that decompresses to more than a limit is not looked at, see :mod:`workers.record_batches`;
- a poll ends at ``POLL_BYTES`` of records, however few they are;
- a partition that was paused in the middle of a response, and has gone on elsewhere since, is fetched again.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord, Fetcher
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch

from workers.record_batches import records_of

# One poll, which is one batch of a worker, reaches over this by no more than one record.
POLL_BYTES: Final = 32 << 20


def bound(consumer: KafkaConsumer, largest_batch: int) -> None:
    """Let ``consumer`` hold one decompressed batch of at most ``largest_batch`` bytes and one poll of records."""
    fetcher = consumer._fetcher
    fetcher.__class__ = _BoundedFetcher
    fetcher.largest_batch = largest_batch


def waiting_bytes(consumer: KafkaConsumer) -> int:
    """Return how much ``consumer`` has fetched that no poll has looked at, in bytes as they came."""
    fetcher = consumer._fetcher
    # Copies, because the I/O thread adds to them.
    waiting = [*fetcher._completed_fetches.copy(), *fetcher._paused_completed_fetches.copy().values()]
    return sum(len(fetch.partition_data.records or b"") for fetch in waiting)


class _BoundedFetcher(Fetcher):  # type: ignore[misc]
    largest_batch: int
    _bytes_left = 0
    _next_partition_records: Any

    class PartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
        bytes_left = 0
        largest_batch = 0

        def _unpack_records(self, tp: TopicPartition, records: Any, *deserializers: Any) -> Iterator[ConsumerRecord]:  # noqa: ARG002
            while (batch := records.next_batch()) is not None:
                if not isinstance(batch, DefaultRecordBatch):
                    raise CorruptRecordError(f"{tp} has messages in the format of Kafka 0.10: no broker writes it now")
                if not batch.validate_crc():
                    raise CorruptRecordError(f"the batch of {tp} at offset {batch.base_offset} fails its checksum")
                self.leader_epoch = batch.leader_epoch
                # A control batch only says how a transaction ended.
                for size, record in () if batch.is_control_batch else records_of(batch, tp, self.largest_batch):
                    self.records_read += 1
                    self.bytes_read += size
                    self.next_fetch_offset = record.offset + 1
                    yield record
                # The last record of a batch may have been removed by compaction.
                self.next_fetch_offset = batch.next_offset
            self.drain()

        def take(self, n: int | None = None) -> list[ConsumerRecord]:
            self._maybe_raise_next_inline_exception()
            records: list[ConsumerRecord] = []
            end = self.bytes_read + self.bytes_left
            try:
                for record in islice(self.record_iterator, n):
                    records.append(record)
                    if self.bytes_read >= end:
                        break
            except Exception as error:
                if not records:
                    raise
                self._next_inline_exception = error
            return records

    def fetched_records(self, max_records: int | None = None, update_offsets: bool = True) -> Any:
        self._bytes_left = POLL_BYTES
        # What was set aside when its partition was paused comes back only where nothing is here, and until then the
        # partition is not fetched. A remainder without records would keep it out for ever.
        if not self._next_partition_records:
            self._next_partition_records = None
        return super().fetched_records(max_records, update_offsets)

    def _append(
        self, drained: dict[TopicPartition, list[ConsumerRecord]], part: Any, max_records: int, update_offsets: bool
    ) -> int:
        if not part:
            return 0
        part.largest_batch, part.bytes_left = self.largest_batch, self._bytes_left
        before = part.bytes_read
        count: int = super()._append(drained, part, max_records, update_offsets)
        self._bytes_left -= part.bytes_read - before
        # As many as were asked for: then no more are.
        return max_records if self._bytes_left <= 0 else count
