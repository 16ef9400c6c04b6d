"""Profiles that change between two runs of a recommender."""

from __future__ import annotations

import json
from typing import Any

import redis

from schemas.keys import Keys
from schemas.settings import RecommendSettings, Settings
from tests.e2e.conftest import Progress, publish, wait_until
from tests.e2e.world import ITEMS, World
from tests.processes import worker_process


def test_lists_follow_the_profiles_of_the_settings(
    served: Settings, redis_client: redis.Redis, progress: Progress, world: World
) -> None:
    keys = Keys(served.redis.prefix)
    users = sorted({event.user_id for event in world.interactions}, key=int)[:40]

    def lists(profile: str = "default") -> list[dict[str, Any]]:
        found: Any = redis_client.mget([keys.recommendations(user, profile) for user in users])
        return [json.loads(document) for document in found if document]

    def rewritten(profile: str, length: int) -> bool:
        return [len(document["items"]) for document in lists(profile)] == [length] * len(users)

    with worker_process(served, "encoder"):
        with worker_process(served, "recommender") as recommender:
            publish(served, world.items)
            wait_until(lambda: recommender.metric("latentstream_index_items") == ITEMS, "all items in the index")
            publish(served, [event for event in world.interactions if event.user_id in users])
            progress.wait()
        plain = lists()
        assert rewritten("default", served.recommend.k)
        assert not lists("home")
        profiles = {"default": {"k": 20}, "home": {"k": 5, "category": "genres", "per_category": 1, "explain": 1}}
        recommend = RecommendSettings.model_validate({"profiles": profiles})
        with worker_process(served.model_copy(update={"recommend": recommend}), "recommender"):
            wait_until(lambda: rewritten("default", 20), "the lists of the old length made anew")
            wait_until(lambda: rewritten("home", 5), "the lists of the new profile made")
            home = lists("home")
    assert [document["items"] for document in lists()] == [document["items"][:20] for document in plain]
    genres = {event.item_id: event.attributes["genres"] for event in world.items}
    for document in home:
        named = [genre for name in document["items"] for genre in genres[name] or ()]  # type: ignore[union-attr]
        assert len(set(named)) == len(named)
        assert [len(reasons) for reasons in document["because"]] == [1] * 5
