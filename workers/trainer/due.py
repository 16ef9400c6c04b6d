"""When to train: there is no model, somebody asks, it is time, or too much is new to the current model."""

from __future__ import annotations

import time
from typing import Final, cast

import redis
from kafka import KafkaConsumer, TopicPartition

from models.registry import Registry
from schemas.events import BadEvent
from schemas.keys import Keys
from schemas.settings import Settings
from workers import connections, metrics
from workers.decoding import interaction_decoder
from workers.last_training import read_last
from workers.topic_reader import CLOSE_TIMEOUT_MS, bounds, read_range
from workers.training import Offsets

# How often the topic is looked at.
GROWTH_CHECK_S: Final = 60.0
# Fewer new interactions say nothing, and of more than so many the newest are counted.
LEAST_COUNTED: Final = 200
MOST_COUNTED: Final = 4_000
# Where there is too little to train on, it is tried again so soon.
_RETRY_S: Final = 60.0


class Due:
    """Says whether a training is due, and why."""

    def __init__(self, settings: Settings, client: redis.Redis, registry: Registry) -> None:
        self._settings = settings
        self._redis = client
        self._keys = Keys(settings.redis.prefix)
        self._registry = registry
        self._growth_at = 0.0
        self._vocabulary: tuple[str, frozenset[str]] = ("", frozenset())

    def reason(self, current: str | None) -> str | None:
        """Return why a training is due now; None where it is not, or an experiment would be ended by a promotion."""
        if self._redis.exists(self._keys.experiment):
            return None
        asked = cast(bytes | None, self._redis.get(self._keys.training_due))
        if asked is not None:
            return f"asked for: {asked.decode(errors='replace')}"
        last = read_last(self._redis, self._keys)
        waited = time.time() - last.ended_at if last is not None else None
        interval = self._settings.trainer.interval_s
        if current is None:
            return "there is no model" if waited is None or waited >= min(_RETRY_S, interval) else None
        if waited is None or waited >= interval:
            return "no training was recorded" if waited is None else f"the last training ended {waited:.0f} s ago"
        if last is not None and time.monotonic() - self._growth_at >= GROWTH_CHECK_S:
            self._growth_at = time.monotonic()
            share = self._new_share(current, last.offsets)
            if share is not None and share >= self._settings.trainer.new_items_share < 1:
                return f"{share:.0%} of the new interactions are with items that the model was not trained on"
        return None

    def _new_share(self, current: str, since: Offsets) -> float | None:
        """Return which share of the interactions since the last training is with items unknown to the model."""
        topic = self._settings.kafka.interactions_topic
        known = self._known(current)
        decode = interaction_decoder(self._settings.events.max_bytes)
        consumer: KafkaConsumer = connections.consumer(self._settings, None)
        try:
            beginning, end = bounds(consumer, topic)
            window = MOST_COUNTED // max(len(end), 1)
            first = {part: max(beginning[part], _offset(since, part), end[part] - window) for part in end}
            counted = new = 0
            for records in read_range(consumer, first, end):
                for record in records:
                    try:
                        item_id = decode(record).item_id
                    except BadEvent:
                        continue
                    counted += 1
                    new += item_id not in known
        finally:
            consumer.close(timeout_ms=CLOSE_TIMEOUT_MS)
        if counted < LEAST_COUNTED:
            return None
        metrics.NEW_ITEMS.set(new / counted)
        return new / counted

    def _known(self, version: str) -> frozenset[str]:
        if self._vocabulary[0] != version:
            self._vocabulary = version, frozenset(self._registry.vocabulary(version))
        return self._vocabulary[1]


def _offset(offsets: Offsets, partition: TopicPartition) -> int:
    return offsets.get(partition.topic, {}).get(partition.partition, 0)
