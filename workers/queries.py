"""On-demand queries: each is answered from the catalogue as it is now."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import redis
import structlog

from models.arrays import Floats
from schemas.documents import (
    ItemsQuery,
    ListQuery,
    QueryReply,
    QueryRequest,
    ReconstructQuery,
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
from workers.query_rules import BadQuery, decode_request, wanted_by
from workers.query_stream import QueryStream, Request, address
from workers.refusals import raise_if_denied
from workers.wanted import Ranked, Wanted

log = structlog.get_logger()

RETRY_S: Final = 1.0
# Replies wait for those of the same reading no longer than this.
_FINISH_EVERY_S: Final = 0.05
# What a query is ranked by: one call does for all that have the same.
_MEANS: Final = {UserQuery: "history", ItemsQuery: "history", SimilarQuery: "item", VectorQuery: "features"}
_TOO_LONG: Final = "busy: other requests took too long, ask again later"


class _Asked(NamedTuple):
    request: Request
    query: QueryRequest


class _FromHistory(NamedTuple):
    """A query that is answered from a history of (item id, weight)."""

    query: UserQuery | ItemsQuery
    arm: Arm
    history: list[tuple[str, float]]
    wanted: Wanted


class _Near(NamedTuple):
    """A query for what is near an item or near features."""

    query: SimilarQuery | VectorQuery
    # Float32 [1, input_dim] of a vector query, else the item's id.
    to: str | Floats
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
        self._stream = QueryStream(client, keys, settings)
        self._patience_s = settings.query_wait_s
        self._profiles = all_profiles(settings)
        self._arms = arms
        # What belongs to no user is answered by the current model.
        self._bundle = arms.control.bundle
        self._catalogue = arms.control.catalogue
        self._ranker = arms.control.ranker
        self._popularity = popularity
        self._partitions = partitions

    def loop(self) -> None:
        """Read requests and answer them."""
        ready = False
        while not self.stopping.is_set():
            try:
                if not ready:
                    self._stream.open()
                    ready = True
                began = time.monotonic()
                self._serve(self._stream.read())
                if self._stream.overloaded:
                    # There is no end of it, and the lists of everybody else are made on another thread.
                    self.stopping.wait(time.monotonic() - began)
            except redis.RedisError as error:
                raise_if_denied(error)
                ready = False
                metrics.count_failure(error)
                log.warning("queries_retrying", error=type(error).__name__, reason=str(error))
                self.stopping.wait(RETRY_S)
        self._stream.close()

    def _serve(self, requests: list[Request]) -> None:
        """Answer requests that were read together; those that come to nothing in time are turned away."""
        began = finished_at = time.monotonic()
        asked: list[_Asked] = []
        done: list[Request] = []
        replies: list[QueryReply] = []
        for request in requests:
            try:
                asked.append(_Asked(request, decode_request(request.data)))
            except BadQuery as error:
                metrics.QUERIES.labels("unknown", "error").inc()
                done.append(request)
                replies += _refusal(request.data, str(error))
        groups = _together(asked)
        for place, group in enumerate(groups):
            now = time.monotonic()
            if now - began > self._patience_s:
                self._stream.turn_away([one.request for rest in groups[place:] for one in rest], _TOO_LONG)
                break
            if now - finished_at > _FINISH_EVERY_S:
                self._stream.finish(done, replies)
                done, replies, finished_at = [], [], now
            replies += self._answers([one.query for one in group])
            done += [one.request for one in group]
        self._stream.finish(done, replies)

    def _answers(self, queries: list[QueryRequest]) -> list[QueryReply]:
        """Answer queries that go together; those that are ranked by the same means are ranked in one call."""
        users = [query.user_id for query in queries if isinstance(query, UserQuery)]
        stored = iter(find_histories(self._redis, self._keys, self._partitions, users))
        asked: dict[int, _FromHistory] = {}
        near: dict[int, _Near] = {}
        refused: dict[int, BadQuery] = {}
        for place, query in enumerate(queries):
            try:
                if isinstance(query, UserQuery):
                    history = next(stored)
                    arm, wanted = self._arms.of(query.user_id), self._wanted(query, dismissed(history))
                    asked[place] = _FromHistory(query, arm, weighted(history), wanted)
                elif isinstance(query, ItemsQuery):
                    looked_at = [(item_id, 1.0) for item_id in query.item_ids]
                    asked[place] = _FromHistory(query, self._arms.control, looked_at, self._wanted(query))
                elif isinstance(query, SimilarQuery):
                    self._require_known(query.item_id)
                    near[place] = _Near(query, query.item_id, self._wanted(query))
                elif isinstance(query, VectorQuery):
                    near[place] = _Near(query, self._vector(query.features), self._wanted(query))
            except BadQuery as error:
                refused[place] = error
        ranked = self._ranked_histories(asked) | self._ranked_near(near)
        replies = []
        for place, query in enumerate(queries):
            kind = type(query).__struct_config__.tag
            try:
                if place in refused:
                    raise refused[place]
                reply = ranked[place] if place in ranked else self._answer(query)
                metrics.QUERIES.labels(kind, "ok").inc()
            except BadQuery as error:
                reply = QueryReply(query.id, "error", self._bundle.version, error=str(error))
                metrics.QUERIES.labels(kind, "error").inc()
            replies.append(reply)
        return replies

    def _ranked_histories(self, asked: dict[int, _FromHistory]) -> dict[int, QueryReply]:
        replies = {}
        for arm in self._arms:
            own = {place: one for place, one in asked.items() if one.arm is arm}
            histories, wanted = [one.history for one in own.values()], [one.wanted for one in own.values()]
            lists = arm.ranker.for_histories(histories, wanted) if own else []
            for (place, one), ranked in zip(own.items(), lists, strict=True):
                best = ranked if ranked.code else self._popularity.top(one.wanted, {item for item, _ in one.history})
                replies[place] = self._listed(one.query.id, best, arm.version)
        return replies

    def _ranked_near(self, near: dict[int, _Near]) -> dict[int, QueryReply]:
        items = {place: (one.to, one.wanted) for place, one in near.items() if isinstance(one.to, str)}
        vectors = {place: (one.to, one.wanted) for place, one in near.items() if not isinstance(one.to, str)}
        lists: dict[int, Ranked] = {}
        if items:
            ids, wanted = zip(*items.values(), strict=True)
            lists |= zip(items, self._ranker.similar(ids, wanted), strict=True)
        if vectors:
            features, wanted = zip(*vectors.values(), strict=True)
            lists |= zip(vectors, self._ranker.near(np.concatenate(features), wanted), strict=True)
        return {place: self._listed(near[place].query.id, ranked) for place, ranked in lists.items()}

    def _answer(self, query: QueryRequest) -> QueryReply:
        match query:
            case TrendingQuery():
                return self._listed(query.id, self._popularity.trending(self._wanted(query)))
            case ReconstructQuery():
                return self._reconstruction(query)
            case _:
                raise BadQuery(f"{type(query).__name__} is ranked")

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

    def _vector(self, features: Sequence[float]) -> Floats:
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


def _together(asked: Sequence[_Asked]) -> list[list[_Asked]]:
    """Divide queries so that one that takes long keeps few others waiting, the cheap ones first.

    Those that are ranked by the same means are so together where they have the same filter; every other is by itself.
    """
    unfiltered: defaultdict[str, list[_Asked]] = defaultdict(list)
    by_filter: defaultdict[tuple[str, bytes], list[_Asked]] = defaultdict(list)
    single = []
    for one in asked:
        means = _MEANS.get(type(one.query))
        if means is None or not isinstance(one.query, ListQuery):
            single.append([one])
        elif one.query.filter is None:
            unfiltered[means].append(one)
        else:
            by_filter[means, msgspec.json.encode(one.query.filter)].append(one)
    return [*unfiltered.values(), *single, *by_filter.values()]


def _refusal(data: bytes, reason: str) -> list[QueryReply]:
    """Return the error reply to a request that cannot be read, none where even its id cannot."""
    request_id = address(data)
    if request_id is None:
        log.warning("query_unreadable", reason=reason)
        return []
    return [QueryReply(request_id, "error", error=reason)]
