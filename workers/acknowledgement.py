"""What is sent to Kafka beside the batch must be safe there before the batch is committed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kafka import KafkaProducer
from kafka.producer.future import FutureRecordMetadata

FLUSH_TIMEOUT_S: Final = 30


def wait_acknowledged(producer: KafkaProducer, sent: Sequence[FutureRecordMetadata]) -> None:
    """Wait until all that ``producer`` has ``sent`` is acknowledged.

    Raises:
        KafkaError: a record was not acknowledged; the batch must not be committed.
    """
    producer.flush(timeout=FLUSH_TIMEOUT_S)
    for future in sent:
        future.get(timeout=FLUSH_TIMEOUT_S)
