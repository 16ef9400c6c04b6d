"""``latentstream train``: read events from files or topics, train, write a bundle, make it current."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from schemas.events import BadEvent, decode_interaction, decode_item, feature_vector
from schemas.settings import Settings
from workers import connections
from workers.dataset import DatasetBuilder
from workers.decoding import Interaction, ItemChange, interaction_decoder, item_decoder
from workers.errors import Repairable

READ_TIMEOUT_S: Final = 30.0
# In the registry: the state of trainings that were interrupted. No version begins with a dot.
UNFINISHED: Final = ".unfinished-training"
# Told how far the reading of a source is: its name, and a share in [0, 1].
Progress = Callable[[str, float], None]


class TrainingFailed(Repairable):
    """The events for training cannot be read."""


# Topic -> partition -> the offset after the last record that is read.
Offsets = dict[str, dict[int, int]]


def read_files(builder: DatasetBuilder, items: Path | None, interactions: Path | None) -> None:
    """Add the events in JSON-lines files (gzip by their ending .gz).

    Raises:
        TrainingFailed: a file cannot be read or a line is not an event.
    """
    for line, where in _lines(items):
        try:
            event = decode_item(line)
            builder.add_item(ItemChange(event.item_id, event, feature_vector(event)))
        except BadEvent as error:
            raise TrainingFailed(f"{where}: {type(error).__name__}: {error}") from error
    for line, where in _lines(interactions):
        try:
            touch = decode_interaction(line)
        except BadEvent as error:
            raise TrainingFailed(f"{where}: {type(error).__name__}: {error}") from error
        when = touch.timestamp or 0.0
        builder.add_interaction(
            Interaction(touch.user_id, touch.item_id, touch.kind, touch.weight, when, int(when * 1000))
        )


def end_offsets(settings: Settings) -> Offsets:
    """Return where both topics end now.

    Raises:
        ConnectionFailed: Kafka does not answer, or a topic does not exist.
    """
    consumer = connections.consumer(settings, None)
    try:
        ends: Offsets = {}
        for topic in (settings.kafka.items_topic, settings.kafka.interactions_topic):
            found = consumer.end_offsets(_partitions(consumer, topic))
            ends[topic] = {partition.partition: end for partition, end in found.items()}
        return ends
    finally:
        consumer.close(timeout_ms=1000)


def read_topics(settings: Settings, builder: DatasetBuilder, ends: Offsets, progress: Progress) -> None:
    """Add all events of the topics from their beginnings up to ``ends``. Bad ones are counted and left out.

    Raises:
        ConnectionFailed: Kafka does not answer, or a topic does not exist.
        TrainingFailed: a topic cannot be read to its end.
    """
    decode_items = item_decoder(settings.events.max_bytes, None)
    decode_interactions = interaction_decoder(settings.events.max_bytes)
    steps: list[tuple[str, Callable[[ConsumerRecord], None]]] = [
        (settings.kafka.items_topic, lambda record: builder.add_item(decode_items(record))),
        (settings.kafka.interactions_topic, lambda record: builder.add_interaction(decode_interactions(record))),
    ]
    consumer = connections.consumer(settings, None)
    try:
        for topic, add in steps:
            _replay(consumer, topic, ends[topic], add, builder, progress)
    finally:
        consumer.close(timeout_ms=1000)


def _replay(
    consumer: KafkaConsumer,
    topic: str,
    until: dict[int, int],
    add: Callable[[ConsumerRecord], None],
    builder: DatasetBuilder,
    progress: Progress,
) -> None:
    """Pass every record of ``topic`` before the offsets ``until`` to ``add``."""
    assigned = _partitions(consumer, topic)
    ends = {partition: until.get(partition.partition, 0) for partition in assigned}
    consumer.assign(assigned)
    consumer.seek_to_beginning(*assigned)
    begin = sum(min(first, ends[each]) for each, first in consumer.beginning_offsets(assigned).items())
    total = sum(ends.values()) - begin
    read_at = time.monotonic()
    while (position := sum(min(consumer.position(each), ends[each]) for each in assigned)) < sum(ends.values()):
        progress(topic, (position - begin) / total)
        polled = consumer.poll(timeout_ms=500)
        if polled:
            read_at = time.monotonic()
        elif time.monotonic() - read_at > READ_TIMEOUT_S:
            raise TrainingFailed(f"topic {topic!r} gave nothing for {READ_TIMEOUT_S:.0f} s: is the broker well?")
        for partition, records in polled.items():
            for record in records:
                if record.offset < ends[partition]:
                    _add(add, record, builder)
    progress(topic, 1.0)


def _partitions(consumer: KafkaConsumer, topic: str) -> list[TopicPartition]:
    count = connections.partitions(consumer, [topic])[topic]
    return [TopicPartition(topic, partition) for partition in range(count)]


def _add(add: Callable[[ConsumerRecord], None], record: ConsumerRecord, builder: DatasetBuilder) -> None:
    try:
        add(record)
    except BadEvent:
        builder.bad_events += 1  # The worker that meets it publishes the dead letter.


def _lines(path: Path | None) -> Iterator[tuple[bytes, str]]:
    """Yield each line that is not empty, and where it stands."""
    if path is None:
        return
    opener: Callable[[Path], Any] = gzip.open if path.suffix == ".gz" else lambda name: name.open("rb")
    try:
        with opener(path) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield line, f"{path}:{number}"
    except OSError as error:
        raise TrainingFailed(f"{path} cannot be read: {error}") from error
