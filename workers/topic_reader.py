"""Reading topics back: all records of a range, or the newest that tell something."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Final, Protocol, TypeVar

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from schemas.settings import Settings
from workers import connections

# How much more of each partition is read when its newest records were too few.
_FIRST_WINDOW: Final = 4
_WINDOW_GROWTH: Final = 4
CLOSE_TIMEOUT_MS: Final = 5_000
POLL_MS: Final = 500
STALLED_AFTER_S: Final = 30.0

Offsets = dict[TopicPartition, int]


class Report(Protocol):
    """What a record tells."""

    @property
    def origin(self) -> Hashable:
        """What it is about: of two reports with the same origin the later one counts."""

    @property
    def written_ms(self) -> int:
        """The time of the record, in milliseconds."""


_Report = TypeVar("_Report", bound=Report)


def bounds(consumer: KafkaConsumer, topic: str) -> tuple[Offsets, Offsets]:
    """Return the first offset of each partition of ``topic`` and the one after the last; empty without the topic."""
    partitions = [TopicPartition(topic, partition) for partition in sorted(consumer.partitions_for_topic(topic) or ())]
    if not partitions:
        return {}, {}
    return consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)


def read_range(consumer: KafkaConsumer, first: Offsets, end: Offsets) -> Iterator[list[ConsumerRecord]]:
    """Yield the records from ``first`` up to ``end``, some of one partition at a time, each partition in order.

    Raises:
        ConnectionFailed: Kafka stopped answering.
    """
    left = {partition for partition, offset in end.items() if first[partition] < offset}
    if not left:
        return
    consumer.assign(list(left))
    # A partition that was read before may still be paused.
    consumer.resume(*left)
    for partition in left:
        consumer.seek(partition, first[partition])
    heard_at = time.monotonic()
    while left:
        polled = consumer.poll(timeout_ms=POLL_MS)
        for partition, records in polled.items():
            heard_at = time.monotonic()
            wanted = [record for record in records if record.offset < end[partition]]
            if wanted:
                yield wanted
        # By position, not by offsets seen: what a transaction leaves behind has offsets and no records.
        for partition in [partition for partition in left if consumer.position(partition) >= end[partition]]:
            left.discard(partition)
            consumer.pause(partition)
        if time.monotonic() - heard_at > STALLED_AFTER_S:
            raise connections.ConnectionFailed(f"Kafka has sent nothing of {sorted(left)} for {STALLED_AFTER_S:.0f} s")


def newest(
    settings: Settings, topic: str, limit: int, read: Callable[[ConsumerRecord], _Report | None]
) -> list[_Report]:
    """Return the newest ``limit`` reports, newest first, the last of each origin; ``read`` passes over with None.

    Partitions are read from their ends, and further back only where that was not enough, so that memory
    holds ``limit`` reports a partition however long the topic is.

    Raises:
        ConnectionFailed: Kafka does not answer.
    """
    consumer = connections.consumer(settings, None)
    try:
        reports = _newest_of_each(consumer, topic, limit, read)
    finally:
        consumer.close(timeout_ms=CLOSE_TIMEOUT_MS)
    reports.sort(key=lambda report: -report.written_ms)
    once = {report.origin: report for report in reversed(reports)}
    return sorted(once.values(), key=lambda report: -report.written_ms)[:limit]


def _newest_of_each(
    consumer: KafkaConsumer, topic: str, limit: int, read: Callable[[ConsumerRecord], _Report | None]
) -> list[_Report]:
    """Return the newest ``limit`` reports of each partition."""
    beginning, end = bounds(consumer, topic)
    window = _FIRST_WINDOW * limit
    found: dict[TopicPartition, OrderedDict[Hashable, _Report]] = {}
    pending = set(end)
    while pending:
        first = {partition: max(beginning[partition], end[partition] - window) for partition in pending}
        found |= {partition: OrderedDict() for partition in pending}
        for records in read_range(consumer, first, {partition: end[partition] for partition in pending}):
            kept = found[TopicPartition(records[0].topic, records[0].partition)]
            for report in filter(None, map(read, records)):
                kept.pop(report.origin, None)
                kept[report.origin] = report
                if len(kept) > limit:
                    kept.popitem(last=False)
        pending = {
            partition
            for partition in pending
            if len(found[partition]) < limit and first[partition] > beginning[partition]
        }
        window *= _WINDOW_GROWTH
    return [report for kept in found.values() for report in kept.values()]
