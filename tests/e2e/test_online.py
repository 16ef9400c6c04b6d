"""What goes on beside the lists: items that are gone leave them at once, and interactions judge them."""

from __future__ import annotations

import json
import time

import msgspec
import redis

from schemas.events import InteractionEvent, ItemEvent
from schemas.keys import Keys
from schemas.settings import Settings
from tests.e2e.conftest import Progress, publish, wait_until
from tests.e2e.world import World
from tests.processes import worker_process


def _lists(client: redis.Redis, keys: Keys, users: list[str]) -> list[list[str]]:
    found = [client.get(key) for key in (*map(keys.recommendations, users), keys.popular())]
    return [json.loads(document)["items"] for document in found if isinstance(document, bytes)]


def test_gone_items_leave_all_lists_and_interactions_are_judged(
    served: Settings, redis_client: redis.Redis, progress: Progress, world: World
) -> None:
    keys = Keys(served.redis.prefix)
    users = sorted({event.user_id for event in world.interactions})
    with worker_process(served, "encoder"), worker_process(served, "recommender") as recommender:
        publish(served, world.items)
        wait_until(lambda: progress.done(served.kafka.items_topic), "all items encoded")
        publish(served, world.interactions)
        progress.wait()
        judged_before = recommender.metric("latentstream_judged_interactions_total", source="model")
        (listed,) = [json.loads(data) for data in [redis_client.get(keys.recommendations("42"))] if data]
        publish(served, [InteractionEvent(user_id="42", item_id=listed["items"][2])])
        progress.wait()
        labels = {"model": listed["model"], "profile": "default", "source": "model"}
        wait_until(
            lambda: recommender.metric("latentstream_judged_interactions_total", **labels) == judged_before + 1,
            "the interaction judged",
        )
        assert recommender.metric("latentstream_hits_total", within="10", **labels) >= 1
        assert recommender.metric("latentstream_reciprocal_rank_total", **labels) >= 1 / 3
        wait_until(lambda: recommender.metric("latentstream_coverage") > 0.5, "the coverage known")

        wait_until(lambda: _lists(redis_client, keys, [])[0], "something popular")
        everyones = _lists(redis_client, keys, [])[0][0]
        wait_until(lambda: recommender.metric("latentstream_affected_users") == 0, "nothing to do")
        gone = ItemEvent(item_id=everyones, features=world.items[int(everyones) - 1].features, available=False)
        holders = sum(everyones in items for items in _lists(redis_client, keys, users))
        assert holders > 1
        publish(served, [gone])
        began = time.monotonic()
        wait_until(lambda: redis_client.zscore(keys.withdrawn, everyones) is not None, "readers told", deadline_s=10)
        print(f"readers told within {time.monotonic() - began:.2f} s")
        wait_until(
            lambda: not any(everyones in items for items in _lists(redis_client, keys, users)),
            f"the item gone from {holders} lists",
            # In an idle system readers are told within a second; tests run on busy ones.
            deadline_s=10,
        )
        print(f"gone from {holders} lists within {time.monotonic() - began:.2f} s")
        wait_until(lambda: recommender.metric("latentstream_affected_users") == 0, "all lists made anew")
        assert all(len(items) == served.recommend.k for items in _lists(redis_client, keys, users)[:-1])
        publish(served, [msgspec.structs.replace(gone, available=True)])
        wait_until(lambda: redis_client.zscore(keys.withdrawn, everyones) is None, "readers see the item again")
