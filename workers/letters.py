"""Reading dead letters back, and publishing their events again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError
from kafka.producer.future import FutureRecordMetadata
from kafka.structs import OffsetAndMetadata

from schemas.settings import Settings
from workers.dead_letters import (
    HEADER_EXCEPTION,
    HEADER_MESSAGE,
    HEADER_OFFSET,
    HEADER_PARTITION,
    HEADER_TOPIC,
    HEADERS,
)
from workers.topic_reader import Offsets, bounds, read_range

# The consumer group whose offsets remember what was replayed.
REPLAY_GROUP: Final = "replay"
PREVIEW_BYTES: Final = 200
# A worker that starts again, or a new model, publishes letters a second time. So many are remembered to
# tell; a copy that comes later than that counts as a letter of its own.
REMEMBERED: Final = 200_000
ACKNOWLEDGED_WITHIN_S: Final = 130.0

Origin = tuple[str, int, int]


class Letter(NamedTuple):
    """What a dead letter tells, without the whole value."""

    topic: str
    partition: int
    offset: int
    exception: str
    message: str
    key: bytes | None
    value_start: bytes | None
    value_bytes: int
    written_ms: int

    @property
    def origin(self) -> Origin:
        """Where the event stands; two letters with the same origin are copies."""
        return self.topic, self.partition, self.offset


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters are meant: of a topic, of an exception class, or with None of any."""

    topic: str | None = None
    reason: str | None = None

    def accepts(self, letter: Letter) -> bool:
        """Return whether ``letter`` is meant."""
        return self.topic in (None, letter.topic) and self.reason in (None, letter.exception)


@dataclass(slots=True)
class Replayed:
    """What became of the letters.

    ``foreign`` ones name no topic of the settings; ``too_large`` ones would be refused again.
    """

    published: int = 0
    copies: int = 0
    filtered: int = 0
    foreign: int = 0
    too_large: int = 0


class _Failure(NamedTuple):
    record: ConsumerRecord
    error: KafkaError


class _Seen:
    """Tells copies, within the last ``REMEMBERED`` letters."""

    def __init__(self) -> None:
        self._origins: OrderedDict[Origin, None] = OrderedDict()

    def is_copy(self, origin: Origin) -> bool:
        """Return whether ``origin`` was seen, and remember it."""
        copy = origin in self._origins
        self._origins[origin] = None
        self._origins.move_to_end(origin)
        if len(self._origins) > REMEMBERED:
            self._origins.popitem(last=False)
        return copy


def read_letter(record: ConsumerRecord) -> Letter:
    """Return what a record of the dead-letters topic tells; -1 and "" where it does not."""
    headers = {name: value or b"" for name, value in record.headers}

    def text(name: str) -> str:
        return headers.get(name, b"").decode("utf-8", "backslashreplace")

    def number(name: str) -> int:
        digits = text(name)
        return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else -1

    value = record.value
    return Letter(
        topic=text(HEADER_TOPIC),
        partition=number(HEADER_PARTITION),
        offset=number(HEADER_OFFSET),
        exception=text(HEADER_EXCEPTION),
        message=text(HEADER_MESSAGE),
        key=record.key,
        value_start=None if value is None else value[:PREVIEW_BYTES],
        value_bytes=len(value or b""),
        written_ms=record.timestamp,
    )


class Replay:
    """Publishes the events of dead letters again, to the topics that they came from. One at a time.

    What was replayed is remembered as the offsets of a consumer group. The whole topic is read each time,
    so that the copy of a letter that was replayed before is not taken for a new one.
    """

    def __init__(self, settings: Settings, consumer: KafkaConsumer, producer: KafkaProducer) -> None:
        self._topic = settings.kafka.dead_letters_topic
        self._targets = {settings.kafka.items_topic, settings.kafka.interactions_topic}
        self._max_bytes = settings.events.max_bytes
        self._consumer = consumer
        self._producer = producer
        self.result = Replayed()

    def run(self, wanted: Filter, *, again: bool, remember: bool, on_letters: Callable[[int, int], None]) -> None:
        """Replay what was there at the start: the new letters or, with ``again``, all.

        ``on_letters`` is called with the number of letters read, and that of all.

        Raises:
            KafkaError: an event was not acknowledged; what comes before it is remembered.
        """
        beginning, end = bounds(self._consumer, self._topic)
        start = beginning if again else self._start(beginning)
        seen = _Seen()
        read, total = 0, sum(end[partition] - beginning[partition] for partition in end)
        for records in read_range(self._consumer, beginning, end):
            partition = TopicPartition(self._topic, records[0].partition)
            due = [record for record in records if self._is_due(record, start[partition], wanted, seen)]
            failure = self._publish(due)
            following = records[-1].offset + 1 if failure is None else failure.record.offset
            if remember and following > start[partition]:
                self._consumer.commit({partition: OffsetAndMetadata(following, "", -1)})
            if failure is not None:
                raise failure.error
            read += len(records)
            on_letters(read, total)

    def _start(self, beginning: Offsets) -> Offsets:
        committed = {partition: self._consumer.committed(partition) or 0 for partition in beginning}
        return {partition: max(first, committed[partition]) for partition, first in beginning.items()}

    def _is_due(self, record: ConsumerRecord, start: int, wanted: Filter, seen: _Seen) -> bool:
        letter = read_letter(record)
        copy = seen.is_copy(letter.origin)
        if record.offset < start:
            return False
        if letter.topic not in self._targets or (record.key is None and record.value is None):
            self.result.foreign += 1
        elif not wanted.accepts(letter):
            self.result.filtered += 1
        elif copy:
            self.result.copies += 1
        elif letter.value_bytes > self._max_bytes:
            self.result.too_large += 1
        else:
            return True
        return False

    def _publish(self, records: list[ConsumerRecord]) -> _Failure | None:
        """Publish and wait for every acknowledgement; return the first failure."""
        sent: list[tuple[ConsumerRecord, FutureRecordMetadata]] = []
        failure = None
        for record in records:
            headers = [(name, value or b"") for name, value in record.headers if name not in HEADERS]
            topic = read_letter(record).topic
            try:
                sent.append((record, self._producer.send(topic, key=record.key, value=record.value, headers=headers)))
            except KafkaError as error:
                failure = _Failure(record, error)
                break
        for record, future in sent:
            try:
                future.get(timeout=ACKNOWLEDGED_WITHIN_S)
            except KafkaError as error:
                return _Failure(record, error)
            self.result.published += 1
        return failure
