"""What the stages of a worker are measured with: a place of their own on the same topics, and polled batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from kafka import KafkaConsumer, TopicPartition

from schemas.settings import Settings
from workers import connections
from workers.bench.windows import WINDOWS, Rate, Stopwatch
from workers.sandbox import Sandbox
from workers.source import PartitionRecords, Source

_POLL_S = 0.1
_KEYS_AT_A_TIME = 1000


@contextmanager
def alone(sandbox: Sandbox) -> Iterator[tuple[Settings, redis.Redis]]:
    """Give settings with the topics of ``sandbox`` and keys and groups of their own, and a client; empty before and
    after.
    """
    name = f"{sandbox.name}-alone"
    changes = {
        "redis": sandbox.settings.redis.model_copy(update={"prefix": name}),
        "kafka": sandbox.settings.kafka.model_copy(update={"group_prefix": name}),
    }
    settings = sandbox.settings.model_copy(update=changes)
    client = connections.redis_client(settings.redis)
    _empty(client, name)
    try:
        yield settings, client
    finally:
        _empty(client, name)


def polled(source: Source, events: int) -> tuple[list[list[PartitionRecords]], Rate]:
    """Return ``events`` events in the batches that polls give, and the rate of these polls."""
    batches: list[list[PartitionRecords]] = []
    watch = Stopwatch(events // (2 * WINDOWS))
    # The first one waits for the group to be formed.
    while not (first := source.poll(_POLL_S)):
        pass
    batches.append(first)
    read = size(first)
    while read < events:
        # How many it gives is only known afterwards.
        batch = watch.time(0, lambda: source.poll(_POLL_S))
        if batch:
            watch.time(size(batch), lambda: None)
            batches.append(batch)
            read += size(batch)
    return batches, watch.rate()


def published(sandbox: Sandbox, topic: str) -> int:
    """Return how many events are on a topic."""
    consumer: KafkaConsumer = connections.consumer(sandbox.settings, None)
    count = connections.partitions(consumer, [topic])[topic]
    ends = consumer.end_offsets([TopicPartition(topic, number) for number in range(count)])
    consumer.close(timeout_ms=1000)
    return int(sum(ends.values()))


def size(batch: list[PartitionRecords]) -> int:
    """Return the number of records in a batch."""
    return sum(len(part.records) for part in batch)


def _empty(client: redis.Redis, prefix: str) -> None:
    names = list(client.scan_iter(match=f"{prefix}:*", count=_KEYS_AT_A_TIME))
    for start in range(0, len(names), _KEYS_AT_A_TIME):
        client.unlink(*names[start : start + _KEYS_AT_A_TIME])
