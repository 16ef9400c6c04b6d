"""The stream of queries under load and after deaths, in a real Redis."""

from __future__ import annotations

import json
import time
from typing import Any, cast

import pytest
import redis

from schemas.documents import MAX_QUEUED, QueryReply, TrendingQuery
from schemas.keys import Keys
from schemas.settings import RecommendSettings, Settings
from workers import metrics, query_stream
from workers.query_client import NoAnswer, QueryClient
from workers.query_stream import BATCH, GROUP, QueryStream, Request

WAIT_S, TIMEOUT_S = 1.0, 10.0


@pytest.fixture
def keys(settings: Settings) -> Keys:
    return Keys(settings.redis.prefix)


def opened(client: redis.Redis, keys: Keys, **changes: Any) -> QueryStream:
    known = {"query_wait_s": WAIT_S, "query_timeout_s": TIMEOUT_S, "reply_ttl_s": 60} | changes
    stream = QueryStream(client, keys, RecommendSettings(**known))
    stream.open()
    return stream


@pytest.fixture
def stream(redis_client: redis.Redis, keys: Keys) -> QueryStream:
    return opened(redis_client, keys)


def ask(client: redis.Redis, keys: Keys, ids: list[str], age_s: float = 0.0) -> None:
    """Write requests as if they had been written ``age_s`` ago."""
    seconds, microseconds = client.time()
    at = seconds * 1000 + microseconds // 1000 - int(1000 * age_s)
    pipeline = client.pipeline(transaction=False)
    for number, one in enumerate(ids):
        request: dict[Any, Any] = {"request": json.dumps({"type": "trending", "id": one, "filter": {"and": []}})}
        pipeline.xadd(keys.queries, request, id=f"{at}-{number}" if age_s else "*")
    pipeline.execute()


def reply(client: redis.Redis, keys: Keys, request_id: str) -> dict[str, Any] | None:
    found = cast(list[bytes], client.lrange(keys.reply(request_id), 0, -1))
    assert len(found) <= 1
    return json.loads(found[0]) if found else None


def asked(requests: list[Request]) -> list[str]:
    return [json.loads(request.data)["id"] for request in requests]


def counted(status: str) -> float:
    labels = {"type": "any", "status": status}
    return metrics.REGISTRY.get_sample_value("latentstream_queries_total", labels) or 0.0


def numbered(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def test_who_waited_too_long_is_told_at_once_where_others_wait(
    stream: QueryStream, redis_client: redis.Redis, keys: Keys
) -> None:
    late = numbered("late", BATCH - 4)
    ask(redis_client, keys, late, age_s=2 * WAIT_S)
    ask(redis_client, keys, numbered("new", BATCH))
    before = counted("busy")
    assert asked(stream.read()) == numbered("new", 4)
    assert counted("busy") - before == len(late)
    for one in late:
        told = reply(redis_client, keys, one)
        assert told is not None
        assert (told["id"], told["status"]) == (one, "busy")
        assert "waited 2." in told["error"]
    # Those in time are in the stream until they are answered, the others are not.
    assert redis_client.xlen(keys.queries) == BATCH


def test_who_waited_long_is_answered_where_nobody_else_waits(
    stream: QueryStream, redis_client: redis.Redis, keys: Keys
) -> None:
    ask(redis_client, keys, numbered("late", BATCH), age_s=2 * WAIT_S)
    assert asked(stream.read()) == numbered("late", BATCH)


def test_what_nobody_waits_for_is_dropped_without_a_word(
    stream: QueryStream, redis_client: redis.Redis, keys: Keys
) -> None:
    ask(redis_client, keys, numbered("old", 300), age_s=TIMEOUT_S + 1)
    ask(redis_client, keys, ["new"])
    before = counted("expired")
    assert asked(stream.read()) == ["new"]
    assert counted("expired") - before == 300
    assert redis_client.xlen(keys.queries) == 1
    assert reply(redis_client, keys, "old0") is None


def test_what_expires_between_two_looks_is_dropped_as_well(redis_client: redis.Redis, keys: Keys) -> None:
    stream = opened(redis_client, keys)
    stream._look_at = float("inf")
    ask(redis_client, keys, ["old"], age_s=TIMEOUT_S + 1)
    before = counted("expired")
    assert stream.read() == []
    assert counted("expired") - before == 1
    assert reply(redis_client, keys, "old") is None
    assert redis_client.xlen(keys.queries) == 0


def test_the_stream_does_not_grow_beyond_its_bound(stream: QueryStream, redis_client: redis.Redis, keys: Keys) -> None:
    ask(redis_client, keys, numbered("x", MAX_QUEUED + 1500))
    assert len(stream.read()) == BATCH
    # Redis cuts off whole nodes of a hundred entries.
    assert MAX_QUEUED <= redis_client.xlen(keys.queries) < MAX_QUEUED + 200


def test_an_asker_bounds_the_stream_where_nobody_serves(
    settings: Settings, redis_client: redis.Redis, keys: Keys
) -> None:
    ask(redis_client, keys, numbered("x", MAX_QUEUED + 1500))
    hasty = settings.model_copy(update={"recommend": RecommendSettings(query_timeout_s=0.01)})
    with pytest.raises(NoAnswer):
        QueryClient(redis_client, hasty).ask(TrendingQuery(id="mine"))
    assert MAX_QUEUED - 1 <= redis_client.xlen(keys.queries) < MAX_QUEUED + 200


def test_the_request_of_a_server_that_died_is_told_and_tried_no_more(
    stream: QueryStream, redis_client: redis.Redis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(redis_client, keys, ["a", "b"])
    assert asked(stream.read()) == ["a", "b"]
    # It dies here. While it may only be slow, nobody touches what it has.
    other = opened(redis_client, keys)
    ask(redis_client, keys, ["c"])
    assert asked(other.read()) == ["c"]
    assert reply(redis_client, keys, "a") is None
    monkeypatch.setattr(query_stream, "TAKE_OVER_MS", 0)
    monkeypatch.setattr(query_stream, "BLOCK_MS", 1)
    # Also a server that always has something to do looks after others.
    ask(redis_client, keys, ["d"])
    other._look_at = 0.0
    assert asked(other.read()) == ["d"]
    told = reply(redis_client, keys, "a")
    assert told is not None
    assert told["status"] == "busy"
    assert "is gone" in told["error"]
    assert redis_client.xpending(keys.queries, GROUP)["pending"] == 1


def test_servers_that_are_gone_are_forgotten(
    redis_client: redis.Redis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = opened(redis_client, keys, query_timeout_s=0.01)
    ask(redis_client, keys, ["a"])
    assert asked(dead.read()) == ["a"]
    opened(redis_client, keys, query_timeout_s=0.01)
    # Anybody may be slow for a while.
    assert len(redis_client.xinfo_consumers(keys.queries, GROUP)) == 1
    monkeypatch.setattr(query_stream, "TAKE_OVER_MS", 0)
    time.sleep(0.02)
    opened(redis_client, keys, query_timeout_s=0.01)
    assert redis_client.xinfo_consumers(keys.queries, GROUP) == []


def test_a_reply_expires_and_does_not_pile_up(stream: QueryStream, redis_client: redis.Redis, keys: Keys) -> None:
    for model in ("v1", "v2"):
        ask(redis_client, keys, ["same"])
        stream.finish(stream.read(), [QueryReply("same", "ok", model)])
    assert (reply(redis_client, keys, "same") or {})["model"] == "v2"
    assert 0 < redis_client.ttl(keys.reply("same")) <= 60
    assert redis_client.xlen(keys.queries) == 0
    ask(redis_client, keys, ["other"])
    stream.turn_away(stream.read(), "busy")
    assert 0 < redis_client.ttl(keys.reply("other")) <= 10


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b'{"id": 7}', b'{"id": "no spaces"}', b"[" * 100_000])
def test_a_request_without_an_id_has_no_address(data: bytes) -> None:
    assert query_stream.address(data) is None
