"""How long after an interaction the user's list in Redis knows of it, seen by somebody who reads the list."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

import redis
from kafka import KafkaProducer
from kafka.errors import KafkaError

from schemas.documents import recommendation_order
from schemas.events import InteractionEvent, encode
from workers import connections
from workers.bench.latency import Summary, summarize
from workers.sandbox import Sandbox, SandboxError

# A list is looked at so often, which is also by how much a duration may come out too long.
POLL_S: Final = 0.004
# Lists looked at in one round trip; more are only outstanding when the workers cannot keep up.
LISTS_AT_A_TIME: Final = 500
# After the last event the missing lists are waited for so long.
PATIENCE_S: Final = 15.0
ACKNOWLEDGED_TIMEOUT_S: Final = 30.0
_STAMP_START: Final = len('{"order":"')
_STAMP_END: Final = _STAMP_START + len(recommendation_order(0, 0)) - 1


@dataclass(frozen=True, slots=True)
class Sent:
    """An interaction that Kafka has."""

    offset: int
    at: float


@dataclass(slots=True)
class _Watched:
    """What one thread adds and the other takes away."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    outstanding: dict[str, list[Sent]] = field(default_factory=lambda: defaultdict(list))
    seconds: list[float] = field(default_factory=list)


class ListWatch:
    """Watches the lists of users whose interactions were sent, on a thread of its own.

    The ``order`` of a list ends with the offset after the last interaction that it knows of, in the
    partition of its user. The time of an event is when the producer was handed it, the time of its list
    when the list had been read back.
    """

    def __init__(self, sandbox: Sandbox, client: redis.Redis) -> None:
        self._keys = sandbox.keys
        self._redis = client
        self._watched = _Watched()
        self._stop = threading.Event()
        self._failed: redis.RedisError | None = None
        self._thread = threading.Thread(target=self._run, name="list-watch", daemon=True)

    def __enter__(self) -> ListWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def sent(self, user_id: str, event: Sent) -> None:
        """Begin to wait for the list that knows of ``event``."""
        with self._watched.lock:
            self._watched.outstanding[user_id].append(event)

    def finish(self) -> Summary:
        """Wait until every list has come, or for ``PATIENCE_S``, and return how long they took.

        Raises:
            SandboxError: Redis failed, or not one list came.
        """
        deadline = time.monotonic() + PATIENCE_S
        while self.missing() and time.monotonic() < deadline and self._thread.is_alive():
            time.sleep(POLL_S)
        if self._failed is not None:
            raise SandboxError(f"Redis failed while lists were read: {self._failed}") from self._failed
        if not self._watched.seconds:
            raise SandboxError(f"no list was renewed within {PATIENCE_S:.0f} s: the recommender does not work")
        return summarize(self._watched.seconds, self.missing())

    def missing(self) -> int:
        """Return the number of events whose list has not come yet."""
        with self._watched.lock:
            return sum(map(len, self._watched.outstanding.values()))

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            with self._watched.lock:
                users = list(self._watched.outstanding)[:LISTS_AT_A_TIME]
            if not users:
                continue
            try:
                pipeline = self._redis.pipeline(transaction=False)
                for user in users:
                    pipeline.getrange(self._keys.recommendations(user), _STAMP_START, _STAMP_END)
                stamps = pipeline.execute()
            except redis.RedisError as error:
                self._failed = error
                return
            self._note(dict(zip(users, stamps, strict=True)), time.monotonic())

    def _note(self, stamps: dict[str, bytes], now: float) -> None:
        with self._watched.lock:
            for user, stamp in stamps.items():
                known_to = int(stamp.partition(b"-")[2] or 0)
                waiting = self._watched.outstanding[user]
                self._watched.seconds += [now - event.at for event in waiting if event.offset < known_to]
                late = [event for event in waiting if event.offset >= known_to]
                if late:
                    self._watched.outstanding[user] = late
                else:
                    del self._watched.outstanding[user]


class PacedProducer:
    """Sends interactions at an even rate, whatever the workers do, and tells a watch of each."""

    def __init__(self, sandbox: Sandbox, watch: ListWatch) -> None:
        self._topic = sandbox.settings.kafka.interactions_topic
        self._producer: KafkaProducer = connections.producer(sandbox.settings, linger_ms=0)
        self._watch = watch

    def send(self, events: Iterable[InteractionEvent], rate: float) -> float:
        """Send ``events``, ``rate`` a second; return the rate that was reached.

        Raises:
            SandboxError: Kafka did not take an event.
        """
        futures = []
        start = time.monotonic()
        for number, event in enumerate(events):
            time.sleep(max(start + number / rate - time.monotonic(), 0))
            at = time.monotonic()
            future = self._producer.send(self._topic, key=event.user_id.encode(), value=encode(event))
            future.add_callback(
                lambda record, user=event.user_id, at=at: self._watch.sent(user, Sent(int(record.offset), at))
            )
            futures.append(future)
        reached = len(futures) / (time.monotonic() - start)
        try:
            for future in futures:
                future.get(timeout=ACKNOWLEDGED_TIMEOUT_S)
        except KafkaError as error:
            raise SandboxError(f"Kafka did not take an interaction: {error}") from error
        return reached

    def close(self) -> None:
        """Disconnect from Kafka."""
        self._producer.close(timeout=ACKNOWLEDGED_TIMEOUT_S)
