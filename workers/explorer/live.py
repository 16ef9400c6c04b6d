"""What flows: counts, rates, lag and delays of a running system, read once for all pages that show them."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Any, Final, cast

import msgspec
import redis
from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError

from schemas.events import BadEvent
from workers import connections
from workers.background import Background
from workers.decoding import interaction_decoder
from workers.explorer.delays import Delays
from workers.explorer.system import System
from workers.lookup import current_version, serving_version
from workers.refusals import denial

EVERY_S: Final = 0.5
# Nobody looks: nothing is read. The first page then waits for one reading.
_UNSEEN_AFTER_S: Final = 5.0
_RATE_OVER_S: Final = 3.0
_ENDS_KEPT_S: Final = 120.0
_KEPT_SAMPLES: Final = 240
# Of each partition at each reading; more would only pass by.
_NEWEST: Final = 3
_KAFKA_TIMEOUT_MS: Final = 2_000
_KAFKA_RETRY_S: Final = 2.0
_POLL_MS: Final = 200


class Flow(msgspec.Struct):
    """One topic: what comes in, what is processed, and what is between them. Null is not known."""

    name: str
    partitions: int
    stored: int
    processed: int
    events: int | None = None
    lag: int | None = None
    lag_s: float | None = None
    in_per_s: float | None = None
    out_per_s: float | None = None


class Event(msgspec.Struct, frozen=True):
    """An event that came in just now. ``user_id`` is empty for an item."""

    item_id: str
    user_id: str
    kind: str
    at: float


class Sample(msgspec.Struct):
    """How the system stands at one moment (Unix seconds)."""

    at: float
    problems: list[str]
    version: str = ""
    serving: str = ""
    queries_waiting: int = 0
    memory_bytes: int | None = None
    dead_letters: int | None = None
    anomalies: int | None = None
    items: Flow | None = None
    interactions: Flow | None = None
    event_to_list_ms: dict[str, float] | None = None
    recent: list[Event] = []


class Live(Background):
    """Reads every half second while somebody looks."""

    def __init__(self, system: System) -> None:
        super().__init__("live")
        self._system = system
        self._settings = system.settings
        self._consumer: KafkaConsumer | None = None
        self._retry_at = 0.0
        self._seen_at = -math.inf
        self._rates: dict[str, deque[tuple[float, int | None, int]]] = {}
        self._ends: dict[TopicPartition, deque[tuple[float, int]]] = {}
        self._delays = Delays(system)
        self._decode = interaction_decoder(self._settings.events.max_bytes)
        self._samples: deque[tuple[int, bytes]] = deque(maxlen=_KEPT_SAMPLES)
        self._number = 0

    def since(self, number: int) -> tuple[int, list[bytes]]:
        """Return the number of the newest sample and those after ``number`` as JSON; the caller looks from now on."""
        self._seen_at = time.monotonic()
        samples = list(self._samples)
        newest = samples[-1][0] if samples else number
        return newest, [data for own, data in samples if own > number]

    def loop(self) -> None:
        """Read while somebody looks."""
        while not self.stopping.wait(EVERY_S if self._samples else EVERY_S / 10):
            if time.monotonic() - self._seen_at < _UNSEEN_AFTER_S:
                self._number += 1
                self._samples.append((self._number, msgspec.json.encode(self.sample())))
        self._disconnect()

    def sample(self) -> Sample:
        """Return how the system stands now."""
        found = Sample(time.time(), [])
        try:
            self._read_kafka(found, self._read_redis(found))
        except redis.RedisError as error:
            found.problems.append(f"Redis: {denial(error) or error}")
        except (connections.ConnectionFailed, KafkaError) as error:
            found.problems.append(f"Kafka: {denial(error) or error}")
            self._disconnect()
            self._retry_at = time.monotonic() + _KAFKA_RETRY_S
        except (ValueError, msgspec.MsgspecError) as error:
            found.problems.append(f"what is stored cannot be read: {error}")
        for flow in filter(None, (found.items, found.interactions)):
            self._rate(flow)
        return found

    def _read_redis(self, found: Sample) -> dict[str, list[int]]:
        """Fill in what Redis says, and return the position of each partition."""
        system, kafka = self._system, self._settings.kafka
        version = serving_version(system.redis, system.keys)
        found.serving, found.version = version or "", current_version(system.redis, system.keys) or ""
        items = range(system.item_partitions) if version else ()
        positions = {
            kafka.items_topic: [system.keys.items(version or "", number).position for number in items],
            kafka.interactions_topic: [system.keys.users(number).position for number in range(system.user_partitions)],
        }
        pipeline = system.redis.pipeline(transaction=False)
        for names in positions.values():
            for name in names:
                pipeline.hmget(name, "next", "ids")
        pipeline.xlen(system.keys.queries)
        pipeline.info("memory")
        replies = pipeline.execute(raise_on_error=False)
        memory, found.queries_waiting = replies.pop(), cast(int, _sound(replies.pop()))
        # Whoever may only read keys may not ask for this.
        found.memory_bytes = None if isinstance(memory, redis.RedisError) else int(memory["used_memory"])
        nexts: dict[str, list[int]] = {}
        flows = []
        for topic, names in positions.items():
            rows = [cast(list[Any], _sound(replies.pop(0))) for _ in names]
            nexts[topic] = [int(following or 0) for following, _ in rows]
            flows.append(Flow(topic, len(names), sum(int(ids or 0) for _, ids in rows), sum(nexts[topic])))
        found.items, found.interactions = flows
        return nexts

    def _read_kafka(self, found: Sample, nexts: dict[str, list[int]]) -> None:
        if time.monotonic() < self._retry_at:
            raise connections.ConnectionFailed("no connection; it is tried again")
        if self._consumer is None:
            self._consumer = connections.consumer(
                self._settings,
                None,
                bootstrap_timeout_ms=_KAFKA_TIMEOUT_MS,
                max_poll_records=200,
                max_partition_fetch_bytes=64 * 1024,
                fetch_max_bytes=1 << 20,
            )
        consumer, kafka = self._consumer, self._settings.kafka
        topics = (kafka.items_topic, kafka.interactions_topic, kafka.dead_letters_topic, kafka.anomalies_topic)
        partitions = [
            TopicPartition(topic, number)
            for topic in topics
            for number in sorted(consumer.partitions_for_topic(topic) or ())
        ]
        first = consumer.beginning_offsets(partitions, timeout_ms=_KAFKA_TIMEOUT_MS) if partitions else {}
        ends = consumer.end_offsets(partitions, timeout_ms=_KAFKA_TIMEOUT_MS) if partitions else {}
        for flow in filter(None, (found.items, found.interactions)):
            self._measure(flow, nexts[flow.name], first, ends)
        found.dead_letters = _events(kafka.dead_letters_topic, first, ends)
        found.anomalies = _events(kafka.anomalies_topic, first, ends)
        self._read_newest(consumer, found, ends)
        found.event_to_list_ms = self._delays.quantiles()

    def _measure(
        self, flow: Flow, nexts: list[int], first: dict[TopicPartition, int], ends: dict[TopicPartition, int]
    ) -> None:
        own = {each: end for each, end in ends.items() if each.topic == flow.name}
        flow.partitions, flow.events = len(own), _events(flow.name, first, ends)
        flow.lag, flow.lag_s = 0, 0.0
        now = time.monotonic()
        for each, end in own.items():
            following = max(nexts[each.partition] if each.partition < len(nexts) else 0, first[each])
            flow.lag += max(end - following, 0)
            known = self._ends.setdefault(each, deque())
            known.append((now, end))
            while len(known) > 1 and known[0][0] < now - _ENDS_KEPT_S:
                known.popleft()
            if following < end:
                # Since when the topic has had more than is processed: at least as long as is remembered.
                since = next(at for at, there in known if there > following)
                flow.lag_s = max(flow.lag_s, now - since)

    def _rate(self, flow: Flow) -> None:
        now, kept = time.monotonic(), self._rates.setdefault(flow.name, deque())
        # Events that were removed from the topic came in as well.
        end = None if flow.lag is None else flow.processed + flow.lag
        kept.append((now, end, flow.processed))
        while len(kept) > 2 and kept[1][0] < now - _RATE_OVER_S:
            kept.popleft()
        then, end_then, processed_then = kept[0]
        if now > then:
            flow.out_per_s = max(flow.processed - processed_then, 0) / (now - then)
            if end is not None and end_then is not None:
                flow.in_per_s = max(end - end_then, 0) / (now - then)

    def _read_newest(self, consumer: KafkaConsumer, found: Sample, ends: dict[TopicPartition, int]) -> None:
        """Read the newest events of both topics, and measure by the interactions among them."""
        kafka = self._settings.kafka
        fresh = {}
        for each, end in ends.items():
            known = self._ends.get(each)
            before = known[-2][1] if known and len(known) > 1 else end
            if each.topic in (kafka.items_topic, kafka.interactions_topic) and before < end:
                fresh[each] = max(before, end - _NEWEST)
        if fresh:
            consumer.assign(list(fresh))
            for each, offset in fresh.items():
                consumer.seek(each, offset)
            for records in consumer.poll(timeout_ms=_POLL_MS).values():
                found.recent += filter(None, map(self._event, records[:_NEWEST]))
        self._delays.look()
        found.recent.sort(key=lambda event: -event.at)

    def _event(self, record: ConsumerRecord) -> Event | None:
        at = record.timestamp / 1000
        if record.topic == self._settings.kafka.items_topic:
            name = (record.key or b"").decode(errors="replace")
            return Event(name, "", "deleted" if record.value is None else "item", at)
        try:
            event = self._decode(record)
        except BadEvent:
            return None  # The dead letters show it.
        self._delays.note(event.user_id, record.offset, at)
        return Event(event.item_id, event.user_id, event.kind, at)

    def _disconnect(self) -> None:
        if self._consumer is not None:
            self._consumer.close(timeout_ms=1000)
            self._consumer = None


def _events(topic: str, first: dict[TopicPartition, int], ends: dict[TopicPartition, int]) -> int | None:
    counts = [end - first[each] for each, end in ends.items() if each.topic == topic]
    return sum(counts) if counts else None


def _sound(reply: Any) -> Any:
    if isinstance(reply, redis.RedisError):
        raise reply
    return reply
