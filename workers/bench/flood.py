"""On-demand queries at an even rate, whatever comes back, and somebody among them who waits for each answer."""

from __future__ import annotations

import itertools
import multiprocessing
import threading
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Event
from types import TracebackType
from typing import Final, Self, cast

import msgspec
import redis

from schemas.documents import QueryReply, UserQuery
from schemas.keys import Keys
from schemas.settings import Settings
from workers import connections
from workers.bench.latency import Summary, summarize
from workers.query_client import new_request_id
from workers.sandbox import Sandbox, SandboxError

# Requests are handed to Redis so often, many at a time.
_PULSE_S: Final = 0.02
_REPLY: Final = msgspec.json.Decoder(QueryReply)
_SPAWN: Final = multiprocessing.get_context("spawn")


class Answers(msgspec.Struct, frozen=True):
    """What the one who waits was told, and how long it took. ``sent_per_s`` is the rate of all queries."""

    sent_per_s: float
    ok_ms: Summary | None
    busy_ms: Summary | None
    unanswered: int


class QueryFlood:
    """Sends ``rate`` queries a second for fresh lists of ``users``, inside a ``with`` block, from another process."""

    def __init__(self, sandbox: Sandbox, users: Sequence[str], rate: float) -> None:
        self._stop = _SPAWN.Event()
        self._out, child = _SPAWN.Pipe(duplex=False)
        self._process = _SPAWN.Process(
            target=_flood, args=(sandbox.settings, list(users), rate, self._stop, child), daemon=True
        )

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._process.join()

    def finish(self) -> Answers:
        """Stop and return what the answers were.

        Raises:
            SandboxError: the queries could not be sent.
        """
        self._stop.set()
        try:
            return msgspec.json.decode(self._out.recv_bytes(), type=Answers)
        except EOFError as error:
            raise SandboxError("queries could not be sent: Redis failed") from error


def _flood(settings: Settings, users: list[str], rate: float, stop: Event, out: object) -> None:
    keys = Keys(settings.redis.prefix)
    asker = _Asker(settings, keys, users, stop)
    asker.start()
    client = connections.redis_client(settings.redis)
    began = due = time.monotonic()
    sent = 0
    everyone = itertools.cycle(users)
    while not stop.is_set():
        pipeline = client.pipeline(transaction=False)
        while sent < (time.monotonic() - began) * rate:
            query = UserQuery(id=new_request_id(), user_id=next(everyone))
            pipeline.xadd(keys.queries, {"request": msgspec.json.encode(query)})
            sent += 1
        pipeline.execute()
        due += _PULSE_S
        stop.wait(max(due - time.monotonic(), 0))
    seconds = time.monotonic() - began
    asker.join()
    found = Answers(
        sent_per_s=round(sent / seconds, 1),
        ok_ms=summarize(asker.seconds["ok"]) if asker.seconds["ok"] else None,
        busy_ms=summarize(asker.seconds["busy"]) if asker.seconds["busy"] else None,
        unanswered=asker.unanswered,
    )
    out.send_bytes(msgspec.json.encode(found))  # type: ignore[attr-defined]


class _Asker(threading.Thread):
    """Asks one thing after the other and waits for each answer."""

    def __init__(self, settings: Settings, keys: Keys, users: list[str], stop: Event) -> None:
        super().__init__(name="asker", daemon=True)
        self._redis: redis.Redis = connections.redis_client(settings.redis)
        self._keys = keys
        self._users = itertools.cycle(users)
        # Less than redis-py waits for the reply to a command.
        self._patience_s = min(settings.recommend.query_timeout_s, settings.redis.timeout_s) * 0.9
        self._stopped = stop
        self.seconds: dict[str, list[float]] = {"ok": [], "busy": [], "error": []}
        self.unanswered = 0

    def run(self) -> None:
        while not self._stopped.is_set():
            query = UserQuery(id=new_request_id(), user_id=next(self._users))
            at = time.monotonic()
            self._redis.xadd(self._keys.queries, {"request": msgspec.json.encode(query)})
            popped = cast(
                "list[bytes] | None", self._redis.blpop([self._keys.reply(query.id)], timeout=self._patience_s)
            )
            if popped is None:
                self.unanswered += 1
            else:
                self.seconds[_REPLY.decode(popped[1]).status].append(time.monotonic() - at)
