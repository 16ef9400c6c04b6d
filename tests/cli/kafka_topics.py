"""Reading and writing topics directly."""

from __future__ import annotations

from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from schemas.settings import Settings
from workers import connections
from workers.topic_reader import bounds, read_range


def read_topic(settings: Settings, topic: str) -> list[ConsumerRecord]:
    """Return all records of ``topic``, each partition in its order."""
    consumer = connections.consumer(settings, None)
    try:
        first, end = bounds(consumer, topic)
        return [record for records in read_range(consumer, first, end) for record in records]
    finally:
        consumer.close(timeout_ms=1000)


def committed(settings: Settings, group: str, topic: str) -> int:
    """Return the sum of the offsets that ``group`` has committed."""
    consumer = connections.consumer(settings, group)
    try:
        partitions = consumer.partitions_for_topic(topic) or set()
        return sum(consumer.committed(TopicPartition(topic, number)) or 0 for number in partitions)
    finally:
        consumer.close(autocommit=False, timeout_ms=1000)
