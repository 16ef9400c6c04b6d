"""On-demand queries: a Redis stream of requests, a list with one reply for each."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

import msgspec
import numpy as np
import redis
import structlog

from schemas.documents import (
    ItemsQuery,
    ListQuery,
    QueryReply,
    QueryRequest,
    ReconstructQuery,
    RequestId,
    SimilarQuery,
    TrendingQuery,
    UserQuery,
    VectorQuery,
)
from schemas.keys import Keys
from schemas.records import CodeRecord
from schemas.settings import RecommendSettings
from workers import metrics
from workers.arms import Arm, Arms
from workers.background import Background
from workers.histories import dismissed, weighted
from workers.lookup import find_histories
from workers.popularity import Popularity
from workers.profiles import all_profiles
from workers.query_rules import BadQuery, wanted_by
from workers.refusals import raise_if_denied
from workers.wanted import Ranked, Wanted

log = structlog.get_logger()

GROUP: Final = "recommenders"
BATCH: Final = 64
BLOCK_MS: Final = 500
RETRY_S: Final = 1.0
# A request that its reader has not answered for so long is taken over: that reader is gone.
TAKE_OVER_MS: Final = 3_000
_Entries = list[tuple[bytes, dict[bytes, bytes]]]
_REQUEST = msgspec.json.Decoder(QueryRequest)
_REPLY_TO = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Request(NamedTuple):
    entry: bytes
    query: QueryRequest


class _FromHistory(NamedTuple):
    """A query that is answered from a history of (item id, weight)."""

    query: UserQuery | ItemsQuery
    arm: Arm
    history: list[tuple[str, float]]
    wanted: Wanted


class QueryServer(Background):
    """Answers queries on a thread of its own; several servers share the stream."""

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys,
        settings: RecommendSettings,
        arms: Arms,
        popularity: Popularity,
        partitions: int,
    ) -> None:
        super().__init__("queries")
        self._redis = client
        self._keys = keys
        self._settings = settings
        self._profiles = all_profiles(settings)
        self._arms = arms
        # What belongs to no user is answered by the current model.
        self._bundle = arms.control.bundle
        self._catalogue = arms.control.catalogue
        self._ranker = arms.control.ranker
        self._popularity = popularity
        self._partitions = partitions
        self._name = uuid.uuid4().hex

    def loop(self) -> None:
        """Read requests and answer them."""
        ready = False
        while not self.stopping.is_set():
            try:
                if not ready:
                    self._create_group()
                    ready = True
                self._serve(self._read())
            except redis.RedisError as error:
                raise_if_denied(error)
                ready = False
                metrics.FAILURES.labels(type(error).__name__).inc()
                log.warning("queries_retrying", error=type(error).__name__, reason=str(error))
                self.stopping.wait(RETRY_S)
        try:
            self._redis.xgroup_delconsumer(self._keys.queries, GROUP, self._name)
        except redis.RedisError as error:
            log.warning("query_consumer_left_behind", reason=str(error))

    def _create_group(self) -> None:
        try:
            self._redis.xgroup_create(self._keys.queries, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def _read(self) -> _Entries:
        streams: dict[Any, Any] = {self._keys.queries: ">"}
        reply = cast(
            list[tuple[bytes, _Entries]],
            self._redis.xreadgroup(GROUP, self._name, streams, count=BATCH, block=BLOCK_MS),
        )
        if reply:
            return reply[0][1]
        # Only an idle server looks after the requests of one that died.
        claimed = self._redis.xautoclaim(self._keys.queries, GROUP, self._name, TAKE_OVER_MS, count=BATCH)
        return [entry for entry in claimed[1] if entry[1]]

    def _serve(self, entries: _Entries) -> None:
        if not entries:
            return
        seconds, _ = self._redis.time()
        oldest = (seconds - self._settings.query_timeout_s) * 1000
        requests, replies = [], []
        for entry, fields in entries:
            data = fields.get(b"request", b"")
            if int(entry.partition(b"-")[0]) < oldest:
                metrics.QUERIES.labels("any", "expired").inc()
                continue
            try:
                requests.append(_Request(entry, _REQUEST.decode(data)))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                replies.append(_refusal(data, str(error)))
                metrics.QUERIES.labels("unknown", "error").inc()
        replies += self._answers(requests)
        pipeline = self._redis.pipeline(transaction=False)
        for reply in filter(None, replies):
            pipeline.rpush(self._keys.reply(reply.id), msgspec.json.encode(reply))
            pipeline.expire(self._keys.reply(reply.id), self._settings.reply_ttl_s)
        pipeline.xack(self._keys.queries, GROUP, *(entry for entry, _ in entries))
        pipeline.xdel(self._keys.queries, *(entry for entry, _ in entries))
        pipeline.execute()

    def _answers(self, requests: list[_Request]) -> list[QueryReply]:
        """Answer all requests; those that need a history are ranked together."""
        users = [query for _, query in requests if isinstance(query, UserQuery)]
        histories = find_histories(self._redis, self._keys, self._partitions, [query.user_id for query in users])
        stored = iter(histories)
        asked: dict[bytes, _FromHistory] = {}
        refused: dict[bytes, BadQuery] = {}
        for entry, query in requests:
            try:
                if isinstance(query, UserQuery):
                    history = next(stored)
                    arm, wanted = self._arms.of(query.user_id), self._wanted(query, dismissed(history))
                    asked[entry] = _FromHistory(query, arm, weighted(history), wanted)
                elif isinstance(query, ItemsQuery):
                    looked_at = [(item_id, 1.0) for item_id in query.item_ids]
                    asked[entry] = _FromHistory(query, self._arms.control, looked_at, self._wanted(query))
            except BadQuery as error:
                refused[entry] = error
        ranked = self._ranked_histories(asked)
        replies = []
        for entry, query in requests:
            kind = type(query).__struct_config__.tag
            try:
                if entry in refused:
                    raise refused[entry]
                reply = ranked[entry] if entry in ranked else self._answer(query)
                metrics.QUERIES.labels(kind, "ok").inc()
            except BadQuery as error:
                reply = QueryReply(query.id, "error", self._bundle.version, error=str(error))
                metrics.QUERIES.labels(kind, "error").inc()
            replies.append(reply)
        return replies

    def _ranked_histories(self, asked: dict[bytes, _FromHistory]) -> dict[bytes, QueryReply]:
        replies = {}
        for arm in self._arms:
            own = {entry: one for entry, one in asked.items() if one.arm is arm}
            histories, wanted = [one.history for one in own.values()], [one.wanted for one in own.values()]
            lists = arm.ranker.for_histories(histories, wanted) if own else []
            for (entry, one), ranked in zip(own.items(), lists, strict=True):
                best = ranked if ranked.code else self._popularity.top(one.wanted, {item for item, _ in one.history})
                replies[entry] = self._listed(one.query.id, best, arm.version)
        return replies

    def _answer(self, query: QueryRequest) -> QueryReply:
        match query:
            case SimilarQuery():
                self._require_known(query.item_id)
                return self._listed(query.id, self._ranker.similar([query.item_id], [self._wanted(query)])[0])
            case VectorQuery():
                return self._listed(query.id, self._ranker.near(self._vector(query.features), [self._wanted(query)])[0])
            case TrendingQuery():
                return self._listed(query.id, self._popularity.trending(self._wanted(query)))
            case ReconstructQuery():
                return self._reconstruction(query)
            case _:
                raise BadQuery(f"{type(query).__name__} is answered from a history")

    def _reconstruction(self, query: ReconstructQuery) -> QueryReply:
        record = self._require_known(query.item_id)
        content = self._bundle.content
        if content is None or not record.code:
            raise BadQuery(f"item {query.item_id!r} has no content code: it was published without features")
        features = content.reconstruct(np.frombuffer(record.code, np.uint8)[None])[0]
        return QueryReply(
            query.id,
            "ok",
            self._bundle.version,
            features=[float(value) for value in features],
            reconstruction_error=record.error,
        )

    def _wanted(self, query: ListQuery, never: frozenset[str] = frozenset()) -> Wanted:
        return wanted_by(query, self._profiles, never)

    def _require_known(self, item_id: str) -> CodeRecord:
        record = self._catalogue.code(item_id)
        if record is None:
            raise BadQuery(f"item {item_id!r} is not published, or has no place in the latent space")
        return record

    def _vector(self, features: Sequence[float]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        content = self._bundle.content
        if content is None:
            raise BadQuery("the model has no content part: it cannot encode features")
        if len(features) != content.input_dim:
            raise BadQuery(f"{len(features)} features, the model takes {content.input_dim}")
        with np.errstate(over="ignore"):
            vector = np.asarray([features], np.float64).astype(np.float32)
        if not np.isfinite(vector).all():
            raise BadQuery("a feature is too large for float32")
        return vector

    def _listed(self, request_id: str, ranked: Ranked, version: str = "") -> QueryReply:
        return QueryReply(
            request_id,
            "ok",
            version or self._bundle.version,
            items=ranked.items,
            scores=ranked.scores,
            because=ranked.because or [],
            biases=ranked.biases or [],
        )


def _refusal(data: bytes, reason: str) -> QueryReply | None:
    """Return the error reply to a request that cannot be read, None where even its id cannot."""
    try:
        request_id = msgspec.json.decode(_REPLY_TO.decode(data)["id"], type=RequestId)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        log.warning("query_unreadable", reason=reason)
        return None
    return QueryReply(request_id, "error", error=f"not a query: {reason}")
