"""Items that the model marks, on a topic of their own.

An event is acknowledged before its item is stored, as dead letters are: none is lost, and what a worker published
that was killed in between, or had lost its partition, is published a second time with the same origin and model.
There is one for each stored state of an item that is marked: of two changes of an item in one batch only the later
is stored. A new model encodes the catalogue anew and publishes what *it* marks, with its own version.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from kafka import KafkaProducer
from kafka.consumer.fetcher import ConsumerRecord

from models.content import Encoded
from schemas.events import AnomalyEvent, encode
from schemas.settings import Settings
from workers import metrics
from workers.acknowledgement import wait_acknowledged
from workers.decoding import ItemChange, produced_at

# JSON has no infinity.
_LARGEST_ERROR: Final = float(np.finfo(np.float32).max)


def marked_items(
    model: str, changes: Sequence[ItemChange], rows: Sequence[int], encoded: Encoded
) -> list[AnomalyEvent]:
    """Return the event of ``changes[rows[n]]`` for each row n of ``encoded`` that scores above 1; NaN does not."""
    return [
        _event(model, changes[rows[n]], float(encoded.scores[n]), float(encoded.errors[n]))
        for n in np.flatnonzero(encoded.scores > 1).tolist()
    ]


def _event(model: str, change: ItemChange, score: float, error: float) -> AnomalyEvent:
    record: ConsumerRecord = change.record
    return AnomalyEvent(
        item_id=change.item_id,
        score=score,
        error=min(error, _LARGEST_ERROR),
        model=model,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp=produced_at(record),
    )


class Anomalies:
    """Publishes marked items."""

    def __init__(self, producer: KafkaProducer, settings: Settings) -> None:
        self._producer = producer
        self._topic = settings.kafka.anomalies_topic

    def publish(self, marked: list[AnomalyEvent]) -> None:
        """Publish and wait until every event is acknowledged.

        Raises:
            KafkaError: an event was not acknowledged; the batch must not be committed.
        """
        if not marked:
            return
        sent = [self._producer.send(self._topic, key=event.item_id.encode(), value=encode(event)) for event in marked]
        wait_acknowledged(self._producer, sent)
        metrics.ANOMALIES.inc(len(marked))
