"""How the whole system stands, from Kafka and Redis alone; a part that does not answer is told in words."""

from __future__ import annotations

import time
from typing import Final, cast

import msgspec
import redis
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from schemas.documents import Recommendations
from schemas.keys import Keys
from schemas.settings import Settings
from workers import connections
from workers.lookup import serving_version
from workers.refusals import denial

KAFKA_TIMEOUT_MS: Final = 5_000
# The settings allow no more partitions.
MAX_PARTITIONS: Final = 1024


class TopicStatus(msgspec.Struct, frozen=True):
    """Events on a topic, and how many of them are not processed; ``lag`` is null where Redis cannot tell."""

    name: str
    partitions: int
    events: int
    lag: int | None


class KafkaStatus(msgspec.Struct):
    """What Kafka says; a topic that does not exist is null."""

    problem: str | None = None
    items: TopicStatus | None = None
    interactions: TopicStatus | None = None
    dead_letters: TopicStatus | None = None
    anomalies: TopicStatus | None = None


class ModelStatus(msgspec.Struct, frozen=True):
    """The current model. ``serving`` is the one before, while the items are encoded under it, else empty."""

    version: str
    promoted_at: str
    promoted_by: str
    serving: str = ""


class RedisStatus(msgspec.Struct):
    """What Redis says; what is not there yet is null."""

    problem: str | None = None
    model: ModelStatus | None = None
    items: int = 0
    users: int = 0
    queries_waiting: int = 0
    popular_changed_s_ago: float | None = None
    memory_bytes: int | None = None


class SystemStatus(msgspec.Struct, frozen=True):
    """Both."""

    kafka: KafkaStatus
    redis: RedisStatus


class Positions:
    """The positions in Redis, by topic: what is processed, and how many ids are stored."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        version = serving_version(client, keys)
        item_keys = [keys.items(version, n).position for n in range(MAX_PARTITIONS)] if version else []
        user_keys = [keys.users(n).position for n in range(MAX_PARTITIONS)]
        pipeline = client.pipeline(transaction=False)
        for key in item_keys + user_keys:
            pipeline.hmget(key, "next", "ids")
        rows = cast(list[list[bytes | None]], pipeline.execute())
        self._rows = {"items": rows[: len(item_keys)], "interactions": rows[len(item_keys) :]}

    def ids(self, kind: str) -> int:
        """Return the number of items, or of users with a history."""
        return sum(int(ids or 0) for _, ids in self._rows[kind])

    def following(self, kind: str, partition: int) -> int:
        """Return the offset after the last processed event; 0 where none was."""
        rows = self._rows[kind]
        return int(rows[partition][0] or 0) if partition < len(rows) else 0


def system_status(settings: Settings) -> SystemStatus:
    """Return how the system stands. Takes some seconds where a part does not answer."""
    redis_status, positions = _redis_status(settings)
    return SystemStatus(_kafka_status(settings, positions), redis_status)


def _redis_status(settings: Settings) -> tuple[RedisStatus, Positions | None]:
    status = RedisStatus()
    try:
        client = connections.redis_client(settings.redis)
        keys = Keys(settings.redis.prefix)
        positions = Positions(client, keys)
        status.model = _model(client, keys)
        status.items = positions.ids("items")
        status.users = positions.ids("interactions")
        status.queries_waiting = client.xlen(keys.queries)
        popular = cast(bytes | None, client.get(keys.popular()))
        if popular is not None:
            document = msgspec.json.decode(popular, type=Recommendations)
            status.popular_changed_s_ago = max(time.time() - document.generated_at, 0.0)
        status.memory_bytes = _memory(client)
    except (connections.ConnectionFailed, redis.RedisError) as error:
        return RedisStatus(problem=denial(error) or str(error)), None
    return status, positions


def _model(client: redis.Redis, keys: Keys) -> ModelStatus | None:
    stored = cast(dict[bytes, bytes], client.hgetall(keys.model))
    if b"version" not in stored:
        return None
    names = ("version", "promoted_at", "promoted_by", "serving")
    found = ModelStatus(**{name: stored.get(name.encode(), b"").decode(errors="replace") for name in names})
    return msgspec.structs.replace(found, serving="") if found.serving == found.version else found


def _memory(client: redis.Redis) -> int | None:
    try:
        return int(client.info("memory")["used_memory"])
    except redis.ResponseError:
        # Whoever may only read keys may not ask for this.
        return None


def _kafka_status(settings: Settings, positions: Positions | None) -> KafkaStatus:
    kafka = settings.kafka
    status = KafkaStatus()
    try:
        consumer = connections.consumer(settings, None, bootstrap_timeout_ms=KAFKA_TIMEOUT_MS)
        try:
            status.items = _topic(consumer, kafka.items_topic, "items", positions)
            status.interactions = _topic(consumer, kafka.interactions_topic, "interactions", positions)
            status.dead_letters = _topic(consumer, kafka.dead_letters_topic, None, None)
            status.anomalies = _topic(consumer, kafka.anomalies_topic, None, None)
        finally:
            consumer.close(timeout_ms=KAFKA_TIMEOUT_MS)
    except (connections.ConnectionFailed, KafkaError) as error:
        return KafkaStatus(problem=denial(error) or str(error))
    return status


def _topic(consumer: KafkaConsumer, topic: str, kind: str | None, positions: Positions | None) -> TopicStatus | None:
    numbers = sorted(consumer.partitions_for_topic(topic) or ())
    if not numbers:
        return None
    partitions = [TopicPartition(topic, number) for number in numbers]
    first = consumer.beginning_offsets(partitions, timeout_ms=KAFKA_TIMEOUT_MS)
    end = consumer.end_offsets(partitions, timeout_ms=KAFKA_TIMEOUT_MS)
    lag = None
    if kind is not None and positions is not None:
        lag = sum(
            max(end[each] - max(positions.following(kind, each.partition), first[each]), 0) for each in partitions
        )
    return TopicStatus(topic, len(numbers), sum(end[each] - first[each] for each in partitions), lag)
