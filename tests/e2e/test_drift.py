"""Drift over a real Kafka and a real Redis: what is alike changes nothing, what is not asks for a training."""

from __future__ import annotations

import numpy as np
import redis

from schemas.events import InteractionEvent, ItemEvent
from schemas.keys import Keys
from schemas.settings import DriftSettings, Settings
from tests.e2e.conftest import Progress, publish, wait_until
from tests.e2e.world import GENRES, ITEMS, World, features, wild
from tests.processes import WorkerProcess, worker_process


def drift(worker: WorkerProcess, of: str) -> float:
    return worker.metric("latentstream_drift", of=of)


def test_only_other_items_and_other_interests_ask_for_a_training(
    served: Settings, redis_client: redis.Redis, progress: Progress, world: World
) -> None:
    settings = served.model_copy(update={"drift": DriftSettings(events=200)})
    due = Keys(settings.redis.prefix).training_due
    arrays = np.random.default_rng(1)
    alike = [ItemEvent(item_id=f"new-{n}", features=features(n % GENRES, arrays)) for n in range(ITEMS)]
    users = len({event.user_id for event in world.interactions})
    with worker_process(settings, "encoder") as encoder, worker_process(settings, "recommender") as recommender:
        publish(settings, world.items + alike)
        publish(settings, world.interactions)
        progress.wait()
        wait_until(lambda: recommender.metric("latentstream_stored", of="users") == users, "all users counted")
        wait_until(lambda: encoder.metric("latentstream_stored", of="items") == 2 * ITEMS, "all items counted")
        assert drift(encoder, "latent") < 0.2
        assert drift(recommender, "popularity") < 0.2
        assert redis_client.exists(due) == 0
        assert encoder.metric("latentstream_trained", of="items") == ITEMS
        assert recommender.metric("latentstream_trained", of="users") == users

        publish(settings, [wild(f"wild-{n}", arrays) for n in range(ITEMS)])
        progress.wait()
        wait_until(lambda: "training_due" in encoder.log(), "a training asked for")
        assert drift(encoder, "latent") > 0.25
        assert b"latent" in (redis_client.getdel(due) or b"")
        assert encoder.log().count("training_due") == 1

        publish(settings, [InteractionEvent(user_id=f"u{n}", item_id=f"new-{n % 50}") for n in range(600)])
        progress.wait()
        wait_until(lambda: "training_due" in recommender.log(), "a training asked for")
        assert drift(recommender, "popularity") > 0.25
        assert b"popularity" in (redis_client.get(due) or b"")
        assert recommender.log().count("training_due") == 1
