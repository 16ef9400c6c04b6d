"""Records of the partitions that another source of this process has, up to where that one has come.

By it a second encoder follows the first. That it never is ahead is what lets only the first publish dead letters, and
the second take its place without missing one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kafka import KafkaConsumer

from workers.source import PartitionRecords, Source


class Limits(NamedTuple):
    """What a source is limited by.

    Args:
        offsets: returns partition -> the offset to stop before, from any thread; other partitions are not read.
        share: of the time that is worked, in (0, 1].
        stopping: ends the pauses.
    """

    offsets: Callable[[], Mapping[int, int]]
    share: float
    stopping: threading.Event


class LimitedSource(Source):
    """A source outside of any group, which leaves time to others."""

    def __init__(self, limits: Limits, consumer: KafkaConsumer, *arguments: Any, **hooks: Any) -> None:
        self._limits = limits
        self._idle_ratio = (1 - limits.share) / limits.share
        self._busy_since: float | None = None
        # Partition -> the offset after what was read last.
        self._read: dict[int, int] = {}
        super().__init__(consumer, *arguments, **hooks)

    def poll(self, timeout_s: float) -> list[PartitionRecords]:
        """See the base class. What is read beyond the limits is read again when they have moved."""
        self._pause()
        limits = self._limits.offsets()
        self._assign(set(limits))
        for owned in self.owned.values():
            if self._read.get(owned.partition, owned.position.next) < limits.get(owned.partition, 0):
                self._consumer.resume(self._topic_partition(owned.partition))
        batches = list(filter(None, (self._cut(batch, limits) for batch in super().poll(timeout_s))))
        if batches:
            self._busy_since = time.monotonic()
        return batches

    def rewind(self) -> None:
        """See the base class."""
        self._read.clear()
        super().rewind()

    def close(self) -> None:
        """Close the consumer."""
        self._uncommitted.clear()
        super().close()

    def _subscribe(self) -> None:
        """Nothing is known of the partitions before the first poll."""

    def _commit_to_kafka(self) -> None:
        """There is no group whose lag this would be."""

    def _pause(self) -> None:
        """Wait for as long as the last batch took, times a factor."""
        if self._busy_since is not None:
            self._limits.stopping.wait((time.monotonic() - self._busy_since) * self._idle_ratio)
            self._busy_since = None

    def _assign(self, partitions: set[int]) -> None:
        assigned = {partition.partition for partition in self._consumer.assignment()}
        if partitions != assigned:
            self._listener.on_partitions_revoked([self._topic_partition(number) for number in assigned - partitions])
            self._consumer.assign([self._topic_partition(number) for number in sorted(partitions)])
            self._listener.on_partitions_assigned(
                [self._topic_partition(number) for number in sorted(partitions - assigned)]
            )

    def _cut(self, batch: PartitionRecords, limits: Mapping[int, int]) -> PartitionRecords | None:
        """Return what of a batch is before the limit, and have the rest read again later."""
        partition = batch.owned.partition
        limit = limits[partition]
        kept = [record for record in batch.records if record.offset < limit]
        self._read[partition] = batch.following
        if len(kept) < len(batch.records):
            self._read[partition] = int(batch.records[len(kept)].offset)
            self._consumer.seek(self._topic_partition(partition), self._read[partition])
        if self._read[partition] >= limit:
            self._consumer.pause(self._topic_partition(partition))
        return PartitionRecords(batch.owned, kept) if kept else None


def source_of(consumer: KafkaConsumer, *arguments: Any, limits: Limits | None, **hooks: Any) -> Source:
    """Return a source of a topic, see :class:`workers.source.Source`, with ``limits`` where there are any."""
    return (
        Source(consumer, *arguments, **hooks)
        if limits is None
        else LimitedSource(limits, consumer, *arguments, **hooks)
    )
