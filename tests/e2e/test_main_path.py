"""Events in, codes and recommendations out: real workers on real Kafka and Redis."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import redis

from models.registry import Registry
from schemas.documents import Recommendations, SimilarQuery, UserQuery
from schemas.events import InteractionEvent, ItemEvent
from schemas.keys import Keys
from schemas.records import unpack_history
from schemas.settings import Settings
from tests.e2e.conftest import Progress, publish, wait_until
from tests.e2e.world import GENRES, NEW_ITEM, World, features, genre_of
from tests.processes import worker_process
from workers.lookup import find_histories, find_item
from workers.query_client import QueryClient, QueryRefused

COMPARED_USERS = 200


def _list(client: redis.Redis, keys: Keys, user: str) -> Recommendations | None:
    document = client.get(keys.recommendations(user))
    return msgspec.json.decode(document, type=Recommendations) if isinstance(document, bytes) else None


def _is_known(queries: QueryClient, item_id: str) -> bool:
    try:
        return queries.ask(SimilarQuery("known", item_id, 1)).status == "ok"
    except QueryRefused:
        return False


def test_served_lists_equal_what_the_saved_model_ranks_first(
    served: Settings, redis_client: redis.Redis, progress: Progress, world: World, trained: tuple[Path, str]
) -> None:
    """The list in Redis, item by item, against the Keras model run over the whole catalogue."""
    keys = Keys(served.redis.prefix)
    with (
        worker_process(served, "encoder", forked=False),
        worker_process(served, "recommender", forked=False) as recommender,
    ):
        publish(served, world.items)
        wait_until(lambda: progress.done(served.kafka.items_topic), "all items encoded")
        wait_until(lambda: recommender.metric("latentstream_index_items") == len(world.items), "all items in the index")
        publish(served, world.interactions)
        progress.wait()
    bundle = Registry(trained[0]).load(trained[1])
    assert bundle.content is not None
    rows = {event.item_id: row for row, event in enumerate(world.items)}
    names = np.array(list(rows))
    codes = bundle.content.codes(np.array([event.features for event in world.items], np.float32))
    everything = np.ones(len(names), bool)
    placed = bundle.space.place(list(rows), bundle.content.latents(codes), everything)
    assert placed.known.all()
    assert len(bundle.space.vocabulary) < len(names), "some items must be placed by the bridge"
    users = sorted({event.user_id for event in world.interactions}, key=int)[:COMPARED_USERS]
    histories = find_histories(redis_client, keys, served.kafka.partitions, users)
    assert len(users) == COMPARED_USERS
    for user, history in zip(users, histories, strict=True):
        dense = np.zeros((1, len(names)), np.float32)
        for touch in history:
            dense[0, rows[touch.item_id]] = touch.weight
        bag = (dense / np.linalg.norm(dense)) @ placed.embeddings
        scores = placed.retrieval.astype(np.float64) @ np.append(bundle.space.user_codes(bag)[0], 1)
        scores[[rows[touch.item_id] for touch in history]] = -np.inf
        best = np.argsort(-scores, kind="stable")[: served.recommend.k]
        stored = _list(redis_client, keys, user)
        assert stored is not None
        assert stored.source == "model"
        assert stored.items == list(names[best]), f"user {user}"
        np.testing.assert_allclose(stored.scores, scores[best], rtol=1e-4, atol=1e-4)


def test_an_item_is_recommended_to_its_like_and_disappears_when_it_is_gone(
    served: Settings, redis_client: redis.Redis, progress: Progress, world: World
) -> None:
    keys = Keys(served.redis.prefix)
    fans = [str(number) for number in range(1, 60) if number % GENRES == 2]
    queries = QueryClient(redis_client, served)
    with worker_process(served, "encoder"), worker_process(served, "recommender"):
        publish(served, [*world.items, ItemEvent(item_id="no-features")])
        wait_until(lambda: progress.done(served.kafka.items_topic), "all items encoded")
        publish(served, [event for event in world.interactions if event.user_id in fans])
        progress.wait()
        listed = [stored for fan in fans if (stored := _list(redis_client, keys, fan))]
        assert len(listed) == len(fans)
        top = [genre_of(name) for stored in listed for name in stored.items[:5]]
        assert np.mean(np.array(top) == 2) > 0.8

        victim = listed[0].items[0]
        publish(served, [ItemEvent(item_id=victim, features=features(2, np.random.default_rng(1)), available=False)])
        holders = [stored.user_id for stored in listed if victim in stored.items]
        wait_until(
            lambda: not any(victim in (_list(redis_client, keys, user) or listed[0]).items for user in holders),
            "the unavailable item gone from every list",
        )
        answer = queries.ask(SimilarQuery("a", victim, 5))
        assert answer.status == "ok"
        assert {genre_of(name) for name in answer.items} == {2}
        assert victim not in queries.ask(UserQuery("b", fans[0], 100)).items

        publish(served, [ItemEvent(item_id=NEW_ITEM, features=features(2, np.random.default_rng(2)))])
        wait_until(lambda: _is_known(queries, NEW_ITEM), "the new item in the index")
        assert NEW_ITEM in queries.ask(UserQuery("c", fans[0], 300)).items


def test_an_interaction_counts_as_soon_as_its_item_is_published(
    served: Settings, redis_client: redis.Redis, progress: Progress, world: World
) -> None:
    keys = Keys(served.redis.prefix)
    with worker_process(served, "encoder"), worker_process(served, "recommender"):
        publish(served, world.items[:200])
        wait_until(lambda: progress.done(served.kafka.items_topic), "the items encoded")
        publish(served, [InteractionEvent(user_id="early", item_id=NEW_ITEM)])
        progress.wait()
        before = _list(redis_client, keys, "early")
        assert before is not None
        assert before.source == "popular"
        (history,) = find_histories(redis_client, keys, served.kafka.partitions, ["early"])
        assert [touch.item_id for touch in history] == [NEW_ITEM]
        publish(served, [ItemEvent(item_id=NEW_ITEM, features=features(3, np.random.default_rng(3)))])
        wait_until(lambda: (_list(redis_client, keys, "early") or before).source == "model", "a list from the model")
        after = _list(redis_client, keys, "early")
        assert after is not None
        assert np.mean([genre_of(name) == 3 for name in after.items[:10]]) > 0.5
        waiting = [keys.users(partition).waiting for partition in range(served.kafka.partitions)]
        wait_until(lambda: not redis_client.exists(*waiting), "nobody waits any more")


def test_retracting_everything_leaves_no_history_and_a_popular_list(
    served: Settings, redis_client: redis.Redis, progress: Progress, world: World
) -> None:
    keys = Keys(served.redis.prefix)
    with worker_process(served, "encoder"), worker_process(served, "recommender"):
        publish(served, world.items)
        wait_until(lambda: progress.done(served.kafka.items_topic), "the items encoded")
        publish(served, [InteractionEvent(user_id="anna", item_id="7"), InteractionEvent(user_id="bert", item_id="8")])
        progress.wait()
        publish(served, [InteractionEvent(user_id="anna", item_id="7", weight=0)])
        progress.wait()
        stored = _list(redis_client, keys, "anna")
    assert stored is not None
    assert stored.source == "popular"
    assert find_histories(redis_client, keys, served.kafka.partitions, ["anna"]) == [[]]
    popular = redis_client.get(keys.popular())
    assert isinstance(popular, bytes)


def test_stored_item_is_what_was_published(
    served: Settings, redis_client: redis.Redis, progress: Progress, world: World, trained: tuple[Path, str]
) -> None:
    keys = Keys(served.redis.prefix)
    with worker_process(served, "encoder"):
        publish(served, world.items)
        wait_until(lambda: progress.done(served.kafka.items_topic), "all items encoded")
    bundle = Registry(trained[0]).load(trained[1])
    assert bundle.content is not None
    for event in world.items[::50]:
        stored = find_item(redis_client, keys, trained[1], served.kafka.partitions, event.item_id)
        assert stored is not None
        assert stored.attributes == event.attributes
        vector = np.array([event.features], np.float32)
        codes, errors, _ = bundle.content.encode(vector)
        assert stored.record.code == codes[0].tobytes()
        assert stored.record.error == pytest.approx(errors[0], rel=0.01)
        again = bundle.content.reconstruct(np.frombuffer(stored.record.code, np.uint8)[None])
        assert float(np.mean((again - vector) ** 2)) == pytest.approx(errors[0], rel=0.01)


def test_worker_without_a_model_is_live_not_ready_and_wakes_up(
    settings: Settings, redis_client: redis.Redis, trained: tuple[Path, str]
) -> None:
    registry, version = trained
    waiting = settings.model_copy(update={"model": settings.model.model_copy(update={"registry": registry})})
    with worker_process(waiting, "encoder", wait_ready=False) as worker:
        wait_until(lambda: worker.get("/live")[0] == 200, "live")
        status, body = worker.get("/ready")
        assert status == 503
        wait_until(lambda: "latentstream train" in worker.get("/ready")[1], "told what is missing")
        redis_client.hset(Keys(waiting.redis.prefix).model, "version", version)
        wait_until(lambda: worker.get("/ready")[0] == 200, "ready after the promotion")
        assert "no model" in body or "starting" in body


def test_history_is_plain_json(served: Settings, redis_client: redis.Redis, progress: Progress) -> None:
    with worker_process(served, "encoder"), worker_process(served, "recommender"):
        publish(served, [InteractionEvent(user_id="anna", item_id="7", kind="buy", weight=2.0, timestamp=10.0)])
        progress.wait()
    keys = Keys(served.redis.prefix)
    found = [
        redis_client.hget(keys.users(partition).histories(0), "anna") for partition in range(served.kafka.partitions)
    ]
    (stored,) = [data for data in found if data]
    assert json.loads(stored) == [["7", 2.0, 10.0, "buy"]]
    assert unpack_history(stored)[0].kind == "buy"  # type: ignore[arg-type]
