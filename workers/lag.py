"""How far a worker is behind its topic."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from workers import metrics
from workers.fetching import waiting_bytes


class Lag:
    """What is known of the lag of one source; read when the metrics are, also while a batch hangs."""

    def __init__(self) -> None:
        self._events = 0
        # On the topic as of the last fetch, and in no poll yet.
        self.unread = 0
        self._waiting_bytes = 0
        self._oldest_ms: int | None = None

    def see(self, polled: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> None:
        """Take over what a poll gave, before Redis is asked: it may not answer, and then these wait."""
        if polled and self._oldest_ms is None:
            self._oldest_ms = min(records[0].timestamp for records in polled.values())

    def note(
        self,
        consumer: KafkaConsumer,
        positions: Iterable[tuple[TopicPartition, int]],
        polled: Mapping[TopicPartition, Sequence[ConsumerRecord]],
    ) -> None:
        """Take over the positions after a poll, and what it gave; it costs no request.

        Of a partition that gave nothing what stands behind the position counts as unread, though it may be in work.
        """
        # Not `highwater`, which raises where a partition was taken away in this moment.
        known = consumer._subscription.assignment
        self._events = self.unread = 0
        for partition, position in positions:
            end = known[partition].highwater if partition in known else None
            # Before its first answer the end of a partition is unknown.
            if end is not None:
                read = polled[partition][-1].offset + 1 if partition in polled else position
                self._events += max(end - position, 0)
                self.unread += max(end - read, 0)
        self._waiting_bytes = waiting_bytes(consumer)
        times = [records[0].timestamp for records in polled.values()]
        if times or not self._events:
            self._oldest_ms = min(times, default=None)

    def seconds(self) -> float:
        """Return the age of the oldest event that is being processed, 0 where there is none."""
        oldest_ms = self._oldest_ms
        return 0.0 if oldest_ms is None else max(time.time() - oldest_ms / 1000, 0.0)

    def publish(self, topic: str, consumer: KafkaConsumer) -> None:
        """Let the metrics of ``topic`` be these, and say how long Kafka has not answered ``consumer``, of a group."""
        began, coordinator = time.monotonic(), consumer._coordinator

        def silence() -> float:
            return time.monotonic() - max(float(coordinator.heartbeat.last_receive), began)

        metrics.KAFKA_SILENCE.labels(topic).set_function(silence)
        metrics.LAG_EVENTS.labels(topic).set_function(lambda: self._events)
        metrics.LAG_SECONDS.labels(topic).set_function(self.seconds)
        metrics.WAITING_BYTES.labels(topic).set_function(lambda: self._waiting_bytes)
