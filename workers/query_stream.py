"""The stream of on-demand queries: reading it, turning away what is too much, and replying.

What is true of a request:

- it is answered, or told "busy", or older than its asker waits (then it is dropped without a word);
- it is "busy" where it has waited too long and others queue behind it, or where its server died with it: the stream
  keeps it for that server, and the next that looks tells the asker, who may ask again. It is not tried again, so a
  request that a server dies of takes no other with it.
- it is in the stream for no longer than an asker waits, while any server runs; and so is what is known of a server
  that died.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import msgspec
import redis
import structlog

from schemas.documents import MAX_QUEUED, QueryReply, RequestId
from schemas.keys import Keys
from schemas.settings import RecommendSettings
from workers import metrics

log = structlog.get_logger()

GROUP: Final = "recommenders"
BATCH: Final = 64
BLOCK_MS: Final = 500
# A request that its reader has not answered for so long is taken over: that reader is gone.
TAKE_OVER_MS: Final = 3_000
# What is old or lost is looked for so often.
_LOOK_AFTER_S: Final = 1.0
# Nobody asks again later for a reply that says to ask again.
_BUSY_TTL_S: Final = 10
_LOST: Final = "busy: the recommender that had the request is gone, ask again"
_Entries = list[tuple[bytes, dict[bytes, bytes]]]


class _Address(msgspec.Struct):
    """As much of a request as it takes to reply: the rest is not built."""

    id: RequestId


_ADDRESS: Final = msgspec.json.Decoder(_Address)


class Request(NamedTuple):
    """A request as it came."""

    entry: bytes
    data: bytes

    def waited_s(self, now_ms: float) -> float:
        """Return how long it has been in the stream."""
        return (now_ms - int(self.entry.partition(b"-")[0])) / 1000


class QueryStream:
    """One server's side of the stream; several servers share it."""

    def __init__(self, client: redis.Redis, keys: Keys, settings: RecommendSettings) -> None:
        self._redis = client
        self._keys = keys
        self._settings = settings
        self._finish = client.register_script((Path(__file__).parent / "finish.lua").read_text())
        self._name = uuid.uuid4().hex
        self._look_at = 0.0
        # How far the clock of Redis, by which entries are named, is ahead of ours.
        self._ahead_ms = 0.0
        # Whether some of what was read last had waited too long.
        self.overloaded = False

    def open(self) -> None:
        """Join the other servers, and forget those that are gone."""
        self._now_and_length()
        try:
            self._redis.xgroup_create(self._keys.queries, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        for server in self._redis.xinfo_consumers(self._keys.queries, GROUP):
            # Whoever is alive reads all the time; and nobody waits any more for what the others had.
            if server["idle"] > max(1000 * self._settings.query_timeout_s, 2 * TAKE_OVER_MS):
                self._redis.xgroup_delconsumer(self._keys.queries, GROUP, server["name"])

    def close(self) -> None:
        """Leave the other servers."""
        try:
            self._redis.xgroup_delconsumer(self._keys.queries, GROUP, self._name)
        except redis.RedisError as error:
            log.warning("query_consumer_left_behind", reason=str(error))

    def read(self) -> list[Request]:
        """Return requests that can be answered in time, in their order, after a wait where there are none.

        The others are turned away: what is returned here must be finished with :meth:`finish`.
        """
        if time.monotonic() >= self._look_at:
            self._look_after()
            self._look_at = time.monotonic() + _LOOK_AFTER_S
        streams: dict[Any, Any] = {self._keys.queries: ">"}
        reply = cast(
            list[tuple[bytes, _Entries]],
            self._redis.xreadgroup(GROUP, self._name, streams, count=BATCH, block=BLOCK_MS),
        )
        self.overloaded = False
        if not reply:
            return []
        requests = [Request(entry, fields.get(b"request", b"")) for entry, fields in reply[0][1]]
        now_ms, patience_s = 1000 * time.monotonic() + self._ahead_ms, self._settings.query_wait_s
        # The oldest come first.
        if requests[0].waited_s(now_ms) > patience_s:
            now_ms, queued = self._now_and_length()
            if queued <= BATCH:
                # Nobody waits behind them: a late answer is better than none, a server may just have started.
                patience_s = self._settings.query_timeout_s
        late = [request for request in requests if request.waited_s(now_ms) > patience_s]
        self.overloaded = bool(late)
        self._turn_away(late, now_ms)
        return requests[len(late) :]

    def turn_away(self, requests: Sequence[Request], reason: str) -> None:
        """Reply to ``requests`` that they are too many, and finish them."""
        replies = [QueryReply(own, "busy", error=reason) for one in requests if (own := address(one.data)) is not None]
        metrics.QUERIES.labels("any", "busy").inc(len(requests))
        self.finish(requests, replies)

    def finish(self, requests: Sequence[Request], replies: Iterable[QueryReply]) -> None:
        """Send ``replies`` and take ``requests`` out of the stream."""
        if not requests:
            return
        now_ms = 1000 * time.monotonic() + self._ahead_ms
        for request in requests:
            metrics.QUERY_SECONDS.observe(max(request.waited_s(now_ms), 0))
        keys = [self._keys.queries]
        arguments: list[bytes | str | int] = [GROUP, len(requests), *(request.entry for request in requests)]
        for reply in replies:
            seconds = self._settings.reply_ttl_s
            if reply.status == "busy":
                seconds = min(seconds, _BUSY_TTL_S)
            keys.append(self._keys.reply(reply.id))
            arguments += (msgspec.json.encode(reply), seconds)
        self._finish(keys=keys, args=arguments)

    def _turn_away(self, late: list[Request], now_ms: float) -> None:
        """Say "busy" to what has waited too long, and nothing to what nobody waits for."""
        expired = [request for request in late if request.waited_s(now_ms) > self._settings.query_timeout_s]
        metrics.QUERIES.labels("any", "expired").inc(len(expired))
        self.finish(expired, [])
        busy = late[len(expired) :]
        if busy:
            longest_s = busy[0].waited_s(now_ms)
            reason = f"busy: more is asked than can be answered, the request waited {longest_s:.1f} s, ask again later"
            self.turn_away(busy, reason)

    def _look_after(self) -> None:
        """Cut off what nobody waits for, bound what is left, and reply for servers that are gone."""
        now_ms, _ = self._now_and_length()
        oldest = max(int(now_ms - 1000 * self._settings.query_timeout_s), 0)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.xtrim(self._keys.queries, minid=oldest, approximate=False)
        pipeline.xtrim(self._keys.queries, maxlen=MAX_QUEUED)
        metrics.QUERIES.labels("any", "expired").inc(sum(pipeline.execute()))
        claimed = self._redis.xautoclaim(self._keys.queries, GROUP, self._name, TAKE_OVER_MS, count=BATCH)
        self.turn_away([Request(entry, fields.get(b"request", b"")) for entry, fields in claimed[1] if fields], _LOST)

    def _now_and_length(self) -> tuple[float, int]:
        """Return the time of Redis in milliseconds, by which entries are named, and how many there are."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.time()
        pipeline.xlen(self._keys.queries)
        (seconds, microseconds), queued = pipeline.execute()
        now_ms = seconds * 1000 + microseconds / 1000
        self._ahead_ms = now_ms - 1000 * time.monotonic()
        return now_ms, queued


def address(data: bytes) -> str | None:
    """Return the id that the reply to a request goes to, None where it cannot be read."""
    try:
        return _ADDRESS.decode(data).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
