"""How long after its event a new item can be recommended, seen by somebody who asks for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Final

import redis
from kafka import KafkaProducer

from schemas.documents import SimilarQuery
from schemas.events import ItemEvent, encode
from workers import connections
from workers.bench.latency import Summary, summarize
from workers.query_client import NoAnswer, QueryClient, QueryRefused, new_request_id
from workers.sandbox import Sandbox, SandboxError

# Between two questions for the same item; a duration may come out too long by this and a question.
ASK_AGAIN_S: Final = 0.01
# An item that cannot be asked for after so long counts as missing.
PATIENCE_S: Final = 10.0
SENT_TIMEOUT_S: Final = 30.0


class ItemProbe:
    """Publishes new items, ``rate`` a second, and asks for what is similar to each until there is an answer.

    It runs on a thread of its own inside a ``with`` block. The time of an item's event is when the
    producer was handed it.
    """

    def __init__(self, sandbox: Sandbox, client: redis.Redis, events: Iterator[ItemEvent], rate: float) -> None:
        self._topic = sandbox.settings.kafka.items_topic
        self._producer: KafkaProducer = connections.producer(sandbox.settings, linger_ms=0)
        self._queries = QueryClient(client, sandbox.settings)
        self._events = events
        self._interval = 1 / rate
        self._seconds: list[float] = []
        self._missing = 0
        self._failed: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="item-probe", daemon=True)

    def __enter__(self) -> ItemProbe:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._producer.close(timeout=SENT_TIMEOUT_S)

    def finish(self) -> Summary:
        """Stop publishing and return how long it took.

        Raises:
            SandboxError: Kafka or Redis failed, or not one item arrived.
        """
        self._stop.set()
        self._thread.join()
        if self._failed is not None:
            raise SandboxError(f"new items could not be watched: {self._failed}") from self._failed
        if not self._seconds:
            raise SandboxError(f"no item was in the index within {PATIENCE_S:.0f} s: the encoder does not work")
        return summarize(self._seconds, self._missing)

    def _run(self) -> None:
        due = time.monotonic()
        try:
            while not self._stop.wait(max(due - time.monotonic(), 0)):
                self._probe(next(self._events))
                due = max(due + self._interval, time.monotonic())
        except Exception as error:  # noqa: BLE001 - it is raised again by `finish`, on the thread that can act
            self._failed = error

    def _probe(self, event: ItemEvent) -> None:
        at = time.monotonic()
        sent = self._producer.send(self._topic, key=event.item_id.encode(), value=encode(event))
        while time.monotonic() - at < PATIENCE_S:
            if self._is_in_index(event.item_id):
                self._seconds.append(time.monotonic() - at)
                break
            time.sleep(ASK_AGAIN_S)
        else:
            self._missing += 1
        sent.get(timeout=SENT_TIMEOUT_S)

    def _is_in_index(self, item_id: str) -> bool:
        try:
            self._queries.ask(SimilarQuery(new_request_id(), item_id, k=1))
        except (QueryRefused, NoAnswer):
            return False
        return True
