"""Which refused events a topic has gone past, so that publishing them again would undo something newer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from schemas.events import BadEvent
from schemas.settings import Settings
from workers.dead_letters import HEADER_REPLAYED
from workers.decoding import interaction_decoder
from workers.topic_reader import Offsets, bounds, read_range

# What an event says the state of: an item, or a user's interaction with an item.
_Subject = tuple[bytes | str | None, ...]


class _Asked(NamedTuple):
    """A refused event: what it is about, and where it first stood."""

    subject: _Subject
    place: int


@dataclass(slots=True)
class _Partition:
    """What is asked of one partition: the offsets of refused events, and of some what they are about."""

    refused: set[int] = field(default_factory=set)
    asked: dict[int, _Asked] = field(default_factory=dict)


class Overtaken:
    """Finds the newest event of what each refused one is about.

    An event counts as newer where it was not refused itself, and lies behind the refused one in its partition: for an
    item any event or deletion of it, for an interaction one of the same user with the same item. An event that was
    published again counts by its first place. A refused event of an item that is no longer in its topic was overtaken
    too: compaction keeps the newest of each item.

    Memory holds some 300 bytes for each event that is asked about, and 60 for each other that was refused.
    """

    def __init__(self, settings: Settings) -> None:
        self._items = settings.kafka.items_topic
        self._decode = interaction_decoder(settings.events.max_bytes)
        self._partitions: defaultdict[TopicPartition, _Partition] = defaultdict(_Partition)

    def refused(self, topic: str, partition: int, offset: int) -> None:
        """Note that an event was refused: it overtakes none."""
        self._partitions[TopicPartition(topic, partition)].refused.add(offset)

    def ask(self, topic: str, partition: int, offset: int, letter: ConsumerRecord) -> None:
        """Ask whether the event of ``letter``, which is noted as refused, is overtaken."""
        asked = _Asked(self._subject(topic, letter), first_place(letter, partition, offset))
        self._partitions[TopicPartition(topic, partition)].asked[offset] = asked

    def find(self, consumer: KafkaConsumer, on_read: Callable[[int], None]) -> set[tuple[str, int, int]]:
        """Read the topics from the oldest event asked about to their ends, and return which are overtaken.

        ``on_read`` is called with the number of records that each step has read.

        Raises:
            ConnectionFailed: Kafka stopped answering.
        """
        found: set[tuple[str, int, int]] = set()
        for topic in sorted({target.topic for target, one in self._partitions.items() if one.asked}):
            beginning, end = bounds(consumer, topic)
            asked = {target: one for target in end if (one := self._partitions[target]).asked}
            first = {target: min(max(min(one.asked), beginning[target]), end[target]) for target, one in asked.items()}
            newest, there = self._read(consumer, first, {target: end[target] for target in asked}, on_read)
            for target, one in asked.items():
                for offset, (subject, place) in one.asked.items():
                    gone = topic == self._items and offset not in there[target]
                    # Its own copy that was not refused lies at the same place.
                    if gone or newest[target].get(subject, -1) >= place:
                        found.add((topic, target.partition, offset))
        return found

    def _read(
        self, consumer: KafkaConsumer, first: Offsets, end: Offsets, on_read: Callable[[int], None]
    ) -> tuple[dict[TopicPartition, dict[_Subject, int]], dict[TopicPartition, set[int]]]:
        """Return the newest offset of each subject that is asked about, and which events asked about are there."""
        newest: dict[TopicPartition, dict[_Subject, int]] = {target: {} for target in end}
        there: dict[TopicPartition, set[int]] = {target: set() for target in end}
        keys = {target: {event.subject[0] for event in self._partitions[target].asked.values()} for target in end}
        for records in read_range(consumer, first, end):
            target = TopicPartition(records[0].topic, records[0].partition)
            one = self._partitions[target]
            for record in self._about(records, keys[target]):
                if record.offset in one.asked:
                    there[target].add(record.offset)
                if record.offset not in one.refused:
                    subject, place = (
                        self._subject(target.topic, record),
                        first_place(record, record.partition, record.offset),
                    )
                    newest[target][subject] = max(newest[target].get(subject, -1), place)
            on_read(len(records))
        return newest, there

    def _about(self, records: list[ConsumerRecord], keys: set[bytes | str | None]) -> Iterator[ConsumerRecord]:
        return (record for record in records if record.key in keys)

    def _subject(self, topic: str, record: ConsumerRecord) -> _Subject:
        """Return what ``record`` is about, its key first."""
        if topic == self._items:
            return (record.key,)
        try:
            return record.key, self._decode(record).item_id
        except BadEvent:
            # Only the same event again is known to be about the same.
            return record.key, "", record.value


def first_place(record: ConsumerRecord, partition: int, offset: int) -> int:
    """Return the offset at which an event stood first: another than ``offset`` where it was published again."""
    for name, value in record.headers:
        if name == HEADER_REPLAYED:
            found, _, digits = (value or b"").partition(b":")
            if found == str(partition).encode() and digits.isdigit() and len(digits) < 19:
                return min(int(digits), offset)
    return offset
