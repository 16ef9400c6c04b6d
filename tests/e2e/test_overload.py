"""More than can be answered is asked: some are answered, the others told at once, and the lists go on."""

from __future__ import annotations

import json
from typing import Any

import redis

from schemas.documents import MAX_REQUEST_BYTES
from schemas.events import InteractionEvent
from schemas.keys import Keys
from schemas.settings import Settings
from tests.e2e.conftest import publish, wait_until
from tests.e2e.world import World
from tests.processes import worker_process

FLOOD = 4000


def _ask(client: redis.Redis, keys: Keys, requests: list[dict[str, Any]]) -> None:
    pipeline = client.pipeline(transaction=False)
    for request in requests:
        pipeline.xadd(keys.queries, {"request": json.dumps(request)})
    pipeline.execute()


def _answers(client: redis.Redis, keys: Keys, requests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    pipeline = client.pipeline(transaction=False)
    for request in requests:
        pipeline.lrange(keys.reply(request["id"]), 0, -1)
    found = [json.loads(reply) for replies in pipeline.execute() for reply in replies]
    return {reply["id"]: reply for reply in found}


def test_a_flood_of_queries_is_turned_away_and_the_lists_go_on(
    served: Settings, redis_client: redis.Redis, world: World
) -> None:
    keys = Keys(served.redis.prefix)
    # A recommender that is fast enough to answer a flood may not turn anybody away.
    changed = served.recommend.model_copy(update={"query_wait_s": 0.05})
    strict = served.model_copy(update={"recommend": changed})
    with worker_process(strict, "encoder"), worker_process(strict, "recommender") as recommender:
        publish(served, world.items)
        wait_until(lambda: recommender.metric("latentstream_index_items") == len(world.items), "all items in the index")
        queries = [{"type": "user", "id": f"q{number}", "user_id": "u", "k": 300} for number in range(FLOOD)]
        _ask(redis_client, keys, queries)
        publish(served, [InteractionEvent(user_id="u", item_id="7")])
        wait_until(lambda: redis_client.exists(keys.recommendations("u")), "a list in the flood", deadline_s=10)
        wait_until(lambda: redis_client.xlen(keys.queries) == 0, "every query looked at")
        answers = _answers(redis_client, keys, queries)
        assert len(answers) == FLOOD
        statuses = [reply["status"] for reply in answers.values()]
        assert set(statuses) == {"ok", "busy"}
        (reason,) = {reply["error"].partition(",")[0] for reply in answers.values() if reply["status"] == "busy"}
        assert reason == "busy: more is asked than can be answered"
        assert recommender.metric("latentstream_queries_total", status="busy") == statuses.count("busy")
        assert recommender.metric("latentstream_queries_total", status="ok") == statuses.count("ok")
        print(f"{statuses.count('ok')} of {FLOOD} answered")

        # After the flood everything is as before; and what no sense can be made of is told so.
        odd: list[dict[str, Any]] = [
            {"type": "trending", "id": "fine"},
            {"type": "user", "id": "large", "user_id": "x" * MAX_REQUEST_BYTES},
            {"type": "user", "id": "reasons", "user_id": "u", "k": 1000, "explain": 100},
            {"type": "vector", "id": "far", "features": [3e38] * 7},
            {"type": "vector", "id": "near", "features": [1e-45] * 7},
            {"type": "vector", "id": "huge", "features": [1e300] * 7},
        ]
        _ask(redis_client, keys, odd)
        wait_until(lambda: len(_answers(redis_client, keys, odd)) == len(odd), "all of them answered")
        told = _answers(redis_client, keys, odd)
        assert {name: told[name]["status"] for name in told} == {
            "fine": "ok",
            "far": "ok",
            "near": "ok",
            "large": "error",
            "reasons": "error",
            "huge": "error",
        }
        assert "allowed are 4,194,304" in told["large"]["error"]
        assert "allowed are 10,000" in told["reasons"]["error"]
        assert recommender.is_running()
