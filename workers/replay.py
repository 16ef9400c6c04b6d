"""Publishing the events of dead letters again."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError
from kafka.producer.future import FutureRecordMetadata
from kafka.structs import OffsetAndMetadata

from schemas.settings import Settings
from workers.dead_letters import HEADER_REPLAYED, HEADERS
from workers.letters import Filter, Origin, read_letter
from workers.overtaken import Overtaken, first_place
from workers.topic_reader import Offsets, bounds, read_range

# The consumer group whose offsets remember what was replayed.
REPLAY_GROUP: Final = "replay"
# A worker that starts again, or a new model, publishes letters a second time. So many are remembered to
# tell; a copy that comes later than that counts as a letter of its own.
REMEMBERED: Final = 200_000
ACKNOWLEDGED_WITHIN_S: Final = 130.0


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters are replayed: those that ``wanted`` accepts, new ones or, with ``again``, all.

    With ``overtaken`` also those whose topic has something newer. What is replayed is remembered, unless ``remember``
    is false.
    """

    wanted: Filter
    again: bool = False
    overtaken: bool = False
    remember: bool = True


@dataclass(slots=True)
class Replayed:
    """What became of the letters.

    ``foreign`` ones name no topic of the settings; ``too_large`` ones would be refused again; ``overtaken`` ones would
    undo something newer.
    """

    published: int = 0
    copies: int = 0
    filtered: int = 0
    foreign: int = 0
    too_large: int = 0
    overtaken: int = 0


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


class Replay:
    """Publishes the events of dead letters again, to the topics that they came from. One at a time.

    What was replayed is remembered as the offsets of a consumer group. The whole topic is read each time, so that the
    copy of a letter that was replayed before is not taken for a new one.
    """

    def __init__(
        self, settings: Settings, consumer: KafkaConsumer, producer: KafkaProducer, on_read: Callable[[int], None]
    ) -> None:
        self._settings = settings
        self._topic = settings.kafka.dead_letters_topic
        self._targets = {settings.kafka.items_topic, settings.kafka.interactions_topic}
        self._max_bytes = settings.events.max_bytes
        self._consumer = consumer
        self._producer = producer
        self._on_read = on_read
        self.result = Replayed()

    def run(self, choice: Choice) -> None:
        """Replay what was there at the start. ``on_read`` is called with the number of records that each step has read.

        Raises:
            KafkaError: an event was not acknowledged; what comes before it is remembered.
        """
        beginning, end = bounds(self._consumer, self._topic)
        start = beginning if choice.again else self._start(beginning)
        due = self._due(beginning, start, end, choice)
        for records in read_range(self._consumer, start, end):
            partition = TopicPartition(self._topic, records[0].partition)
            failure = self._publish([record for record in records if record.offset in due[partition]])
            following = records[-1].offset + 1 if failure is None else failure.record.offset
            if choice.remember and following > start[partition]:
                self._consumer.commit({partition: OffsetAndMetadata(following, "", -1)})
            if failure is not None:
                raise failure.error
            self._on_read(len(records))

    def _start(self, beginning: Offsets) -> Offsets:
        committed = {partition: self._consumer.committed(partition) or 0 for partition in beginning}
        return {partition: max(first, committed[partition]) for partition, first in beginning.items()}

    def _due(
        self, beginning: Offsets, start: Offsets, end: Offsets, choice: Choice
    ) -> defaultdict[TopicPartition, set[int]]:
        """Return the offsets of the letters to publish."""
        newer, seen = Overtaken(self._settings), _Seen()
        due: dict[Origin, tuple[TopicPartition, int]] = {}
        for records in read_range(self._consumer, beginning, end):
            partition = TopicPartition(self._topic, records[0].partition)
            for record in records:
                letter = read_letter(record)
                newer.refused(*letter.origin)
                if self._is_due(record, start[partition], choice.wanted, seen):
                    due[letter.origin] = (partition, record.offset)
                    newer.ask(*letter.origin, record)
            self._on_read(len(records))
        if not choice.overtaken:
            for origin in newer.find(self._consumer, self._on_read):
                del due[origin]
                self.result.overtaken += 1
        offsets: defaultdict[TopicPartition, set[int]] = defaultdict(set)
        for partition, offset in due.values():
            offsets[partition].add(offset)
        return offsets

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
        elif letter.cut or letter.value_bytes > self._max_bytes:
            self.result.too_large += 1
        else:
            return True
        return False

    def _publish(self, records: list[ConsumerRecord]) -> _Failure | None:
        """Publish and wait for every acknowledgement; return the first failure."""
        sent: list[tuple[ConsumerRecord, FutureRecordMetadata]] = []
        failure = None
        for record in records:
            letter = read_letter(record)
            ours = (*HEADERS, HEADER_REPLAYED)
            headers = [(name, value or b"") for name, value in record.headers if name not in ours]
            place = first_place(record, letter.partition, letter.offset)
            headers.append((HEADER_REPLAYED, f"{letter.partition}:{place}".encode()))
            try:
                future = self._producer.send(
                    letter.topic,
                    key=record.key,
                    value=record.value,
                    headers=headers,
                    # An interaction without a time of its own has that of its record.
                    timestamp_ms=letter.event_ms,
                )
            except KafkaError as error:
                failure = _Failure(record, error)
                break
            sent.append((record, future))
        for record, future in sent:
            try:
                future.get(timeout=ACKNOWLEDGED_WITHIN_S)
            except KafkaError as error:
                return _Failure(record, error)
            self.result.published += 1
        return failure
