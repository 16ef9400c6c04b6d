"""The asking side of on-demand queries: XADD a request, BLPOP its reply."""

from __future__ import annotations

import time
import uuid
from typing import Any, Final, cast

import msgspec
import redis

from schemas.documents import MAX_QUEUED, QueryReply, QueryRequest
from schemas.keys import Keys
from schemas.settings import Settings
from workers.errors import Repairable

# Redis is asked again so often, so that a wait never looks like a lost connection.
_SLICE_S: Final = 1.0
_REPLY: Final = msgspec.json.Decoder(QueryReply)


class NoAnswer(Repairable):
    """No recommender answered in time."""


class QueryRefused(Repairable):
    """A recommender answered that it cannot answer; the message is its reason."""


class QueryBusy(QueryRefused):
    """A recommender answered that it cannot answer now; the message is its reason."""


def new_request_id() -> str:
    """Return an id for a request that nobody else uses."""
    return uuid.uuid4().hex


class QueryClient:
    """Asks the recommenders and waits for as long as ``recommend.query_timeout_s``."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis = client
        self._keys = Keys(settings.redis.prefix)
        self._timeout_s = settings.recommend.query_timeout_s
        self._slice_s = min(_SLICE_S, settings.redis.timeout_s / 2)

    def ask(self, query: QueryRequest) -> QueryReply:
        """Return the reply to ``query``.

        Raises:
            NoAnswer: nobody replied in time; the request is taken back, so that the queue does not grow.
            QueryBusy: the recommenders are asked for more than they can answer; it may be asked again.
            QueryRefused: the reply is an error.
        """
        request: dict[Any, Any] = {"request": msgspec.json.encode(query)}
        # Where no recommender runs, nobody else takes anything out.
        entry = cast(bytes, self._redis.xadd(self._keys.queries, request, maxlen=MAX_QUEUED))
        data = self._wait(self._keys.reply(query.id))
        if data is None:
            self._redis.xdel(self._keys.queries, entry)
            raise NoAnswer(
                f"no recommender answered within {self._timeout_s:g} s: is `latentstream worker recommender` running?"
            )
        reply = _REPLY.decode(data)
        if reply.status == "busy":
            raise QueryBusy(reply.error)
        if reply.status == "error":
            raise QueryRefused(reply.error)
        return reply

    def _wait(self, key: str) -> bytes | None:
        deadline = time.monotonic() + self._timeout_s
        while (remaining := deadline - time.monotonic()) > 0:
            # A wait of 0 would be one without end.
            popped = self._redis.blpop([key], timeout=max(min(remaining, self._slice_s), 0.01))
            if popped is not None:
                return cast(list[bytes], popped)[1]
        return None
