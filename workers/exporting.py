"""What a system knows, as events: the inverse of `latentstream publish`.

It is the way to a topic with another number of partitions, where ids belong to other partitions than before, and a
backup that any other system can read.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import redis
from kafka import KafkaConsumer
from kafka.consumer.fetcher import ConsumerRecord

from schemas.events import BadEvent, InteractionEvent, encode
from schemas.keys import Keys
from schemas.records import Touch, unpack_history
from schemas.settings import Settings
from workers import connections
from workers.decoding import interaction_decoder, item_decoder
from workers.topic_reader import CLOSE_TIMEOUT_MS, Offsets, bounds, read_range

OnRecords = Callable[[int], None]


@dataclass(slots=True)
class Exported:
    """How many lines were written, and how many events were passed over because they are bad."""

    lines: int = 0
    bad: int = 0


class Export:
    """Yields events as JSON, one a line. Items of another shape than the model's ``input_shape`` are bad ones."""

    def __init__(self, settings: Settings, input_shape: tuple[int, ...] | None, on_records: OnRecords) -> None:
        self._settings = settings
        self._input_shape = input_shape
        self._on_records = on_records
        self.result = Exported()

    def items(self) -> Iterator[bytes]:
        """Yield the newest event of each item that exists, by the time of its record over all partitions.

        The topic is read twice, so that memory holds no more than where each event stands.
        """
        topic = self._settings.kafka.items_topic
        decode = item_decoder(self._settings.events.max_bytes, self._input_shape)
        consumer = connections.consumer(self._settings, None)
        try:
            first, end = bounds(consumer, topic)
            newest: dict[bytes, tuple[int, int, int]] = {}
            for record in self._records(consumer, first, end):
                if record.key is not None and self._is_good(decode, record):
                    # Of two with one time, in one partition, the later one counts.
                    place = record.timestamp, record.partition, record.offset
                    newest[record.key] = max(newest.get(record.key, place), place)
            for record in self._records(consumer, first, end):
                if newest.get(record.key, ())[1:] == (record.partition, record.offset):
                    event = decode(record).event
                    if event is not None:
                        yield self._line(encode(event))
        finally:
            consumer.close(timeout_ms=CLOSE_TIMEOUT_MS)

    def interactions(self, client: redis.Redis) -> Iterator[bytes]:
        """Yield the history of each user as it is stored, then the events that no recommender has processed yet.

        These come by the times of their records. Workers must not run meanwhile.
        """
        topic, keys = self._settings.kafka.interactions_topic, Keys(self._settings.redis.prefix)
        consumer = connections.consumer(self._settings, None)
        try:
            first, end = bounds(consumer, topic)
        finally:
            consumer.close(timeout_ms=CLOSE_TIMEOUT_MS)
        start: Offsets = {}
        for partition, offset in first.items():
            users = keys.users(partition.partition)
            following, buckets = cast(list[bytes | None], client.hmget(users.position, "next", "buckets"))
            start[partition] = offset if following is None else max(int(following), offset)
            for bucket in range(int(buckets or 1)):
                for user, history in cast(dict[bytes, bytes], client.hgetall(users.histories(bucket))).items():
                    for touch in unpack_history(history):
                        yield self._line(encode(_event(user.decode(), touch)))
        yield from self._unprocessed(start, end)

    def _unprocessed(self, start: Offsets, end: Offsets) -> Iterator[bytes]:
        decode = interaction_decoder(self._settings.events.max_bytes)
        consumers = {partition: connections.consumer(self._settings, None) for partition in end}
        try:
            streams = [
                self._records(consumer, {partition: start[partition]}, {partition: end[partition]})
                for partition, consumer in consumers.items()
            ]
            for record in heapq.merge(*streams, key=lambda record: record.timestamp):
                try:
                    change = decode(record)
                except BadEvent:
                    self.result.bad += 1
                    continue
                touch = Touch(change.item_id, change.weight, change.timestamp, change.kind)
                yield self._line(encode(_event(change.user_id, touch)))
        finally:
            for consumer in consumers.values():
                consumer.close(timeout_ms=CLOSE_TIMEOUT_MS)

    def _is_good(self, decode: Callable[[ConsumerRecord], object], record: ConsumerRecord) -> bool:
        try:
            decode(record)
        except BadEvent:
            self.result.bad += 1
            return False
        return True

    def _records(self, consumer: KafkaConsumer, first: Offsets, end: Offsets) -> Iterator[ConsumerRecord]:
        for records in read_range(consumer, first, end):
            self._on_records(len(records))
            yield from records

    def _line(self, event: bytes) -> bytes:
        self.result.lines += 1
        return event + b"\n"


def _event(user: str, touch: Touch) -> InteractionEvent:
    return InteractionEvent(user, touch.item_id, touch.kind, touch.weight, touch.timestamp)
