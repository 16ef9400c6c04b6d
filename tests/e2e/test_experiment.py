"""Two models side by side: who gets whose lists, what is counted, and that the end leaves nothing behind."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from schemas.events import InteractionEvent, ItemEvent
from schemas.keys import Keys
from schemas.settings import Settings
from tests.e2e.conftest import Progress, publish, train_world, wait_until
from tests.e2e.world import GENRES, ITEMS, NEW_ITEM, World, features
from tests.processes import environment, worker_process
from workers.lookup import current_version

NAME = "spring"


@pytest.fixture(scope="session")
def challenger(world: World, trained: tuple[Path, str]) -> str:
    """A second version in the registry of the first."""
    return train_world(world, trained[0].parent, seed=1)


def command(settings: Settings, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "workers", "experiment", *arguments],
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def is_challenged(user: str) -> bool:
    """Half of the users, as the README says it."""
    return hashlib.blake2b(f"{NAME}:{user}".encode(), digest_size=8).digest()[0] < 128


class _Lists:
    def __init__(self, client: redis.Redis, keys: Keys, users: list[str]) -> None:
        self._redis, self._keys, self.users = client, keys, users

    def read(self) -> dict[str, dict[str, Any]]:
        found: Any = self._redis.mget([self._keys.recommendations(user) for user in self.users])
        return {user: json.loads(data) for user, data in zip(self.users, found, strict=True) if data}

    def models(self) -> dict[str, str]:
        return {user: document["model"] for user, document in self.read().items()}


def test_two_models_serve_side_by_side_and_are_compared(
    served: Settings, redis_client: redis.Redis, progress: Progress, world: World, challenger: str
) -> None:
    keys = Keys(served.redis.prefix)
    version = current_version(redis_client, keys) or ""
    users = sorted({event.user_id for event in world.interactions})
    lists = _Lists(redis_client, keys, users)
    divided = {user: challenger if is_challenged(user) else version for user in users}
    with worker_process(served, "encoder"), worker_process(served, "recommender") as recommender:
        publish(served, world.items)
        wait_until(lambda: recommender.metric("latentstream_index_items") == ITEMS, "all items in the index")
        publish(served, world.interactions)
        progress.wait()
        assert set(lists.models().values()) == {version}

        command(served, "start", challenger, "--name", NAME)
        wait_until(lambda: lists.models() == divided, "each arm served by its model")
        recommender.wait_ready()
        assert recommender.metric("latentstream_model_info") == 2
        _new_items_reach_both_arms(served, redis_client, keys, lists)
        _interactions_are_counted(served, progress, lists, divided)
        wait_until(lambda: lists.models() == divided, "the new lists by the same models")

        ended = json.loads(command(served, "stop", "--json"))
        assert (ended["control"], ended["challenger"], ended["encoded"]) == (version, challenger, 1.0)
        wait_until(lambda: set(lists.models().values()) == {version}, "everybody served by the current model")
    assert not redis_client.exists(keys.experiment)
    assert all(redis_client.ttl(name) > 0 for name in redis_client.scan_iter(f"{keys.prefix}:*:experiment:*"))


def test_a_shadow_is_judged_and_serves_nobody(
    served: Settings, redis_client: redis.Redis, progress: Progress, world: World, challenger: str
) -> None:
    keys = Keys(served.redis.prefix)
    version = current_version(redis_client, keys) or ""
    users = sorted({event.user_id for event in world.interactions})
    lists = _Lists(redis_client, keys, users)
    with worker_process(served, "encoder"), worker_process(served, "recommender") as recommender:
        publish(served, world.items)
        wait_until(lambda: recommender.metric("latentstream_index_items") == ITEMS, "all items in the index")
        half = len(world.interactions) // 2
        publish(served, world.interactions[:half])
        progress.wait()
        said = command(served, "start", challenger, "--name", NAME, "--shadow", "--share", "1")
        assert "nobody gets" in said
        wait_until(lambda: recommender.metric("latentstream_model_info") == 2, "both models in use")
        # The first half of these makes lists of the shadow, the second judges both.
        for start in (half, half + len(world.interactions) // 4):
            later = world.interactions[start : start + len(world.interactions) // 4]
            publish(served, [InteractionEvent(event.user_id, event.item_id, weight=event.weight) for event in later])
            progress.wait()
        assert set(lists.models().values()) == {version}
        found = json.loads(command(served, "--json"))
        assert found["shadow"] is True
        judged = found["profiles"]["default"]["judged"]
        # Of 639 first contacts those count that are no older than the list: 93 in many small batches, all in one.
        assert judged["control"] == judged["challenger"] > 50
        rates = found["profiles"]["default"]["figures"]["hit_rate@10"]
        assert 0 < rates["control"]["value"] < 1
        # Two models of the same data are about as good, and not the same.
        assert rates["challenger"]["value"] == pytest.approx(rates["control"]["value"], rel=0.5)
        assert "as a shadow" in command(served)
        users_codes = f"{keys.prefix}:{{u*}}:{challenger}:codes:*"
        assert list(redis_client.scan_iter(users_codes)) == []
        command(served, "stop", "--json")
        wait_until(lambda: recommender.metric("latentstream_model_info") == 1, "one model in use")


def _new_items_reach_both_arms(settings: Settings, client: redis.Redis, keys: Keys, lists: _Lists) -> None:
    """An item is encoded under both models, and queries are answered by the model of their user."""
    import numpy as np

    publish(settings, [ItemEvent(item_id=NEW_ITEM, features=features(1, np.random.default_rng(3)))])

    def found(user: str, number: int) -> dict[str, Any]:
        name = f"{user}-{number}"
        query = {"type": "user", "id": name, "user_id": user, "k": ITEMS}
        client.xadd(keys.queries, {"request": json.dumps(query)})
        reply: Any = client.blpop([keys.reply(name)], timeout=10)
        answer: dict[str, Any] = json.loads(reply[1])
        return answer

    for user in [next(user for user in lists.users if is_challenged(user) is arm) for arm in (False, True)]:
        began, number = time.monotonic(), 0
        while NEW_ITEM not in (answer := found(user, number))["items"]:
            number += 1
            assert time.monotonic() - began < 30, f"{NEW_ITEM} is not known to the model of {user}: {answer}"
        assert answer["model"] == lists.models()[user]


def _interactions_are_counted(settings: Settings, progress: Progress, lists: _Lists, divided: dict[str, str]) -> None:
    """The challenger's users touch what their lists begin with, the others what their lists do not have."""
    events = []
    for user, document in lists.read().items():
        listed = document["items"]
        others = [str(n) for n in range(1, ITEMS + 1) if str(n) not in listed and n % GENRES != int(user) % GENRES]
        item = listed[0] if is_challenged(user) else others[-1]
        events.append(InteractionEvent(user_id=user, item_id=item))
    publish(settings, events)
    progress.wait()
    report = json.loads(command(settings, "--json"))
    assert report["live_at"] >= report["started_at"] > "2026"
    found = report["profiles"]["default"]
    challenged = sum(is_challenged(user) for user in divided)
    assert found["judged"]["challenger"] == challenged
    # One may have touched the others' last item before: then nothing is judged.
    assert 0.5 * (len(divided) - challenged) < found["judged"]["control"] <= len(divided) - challenged
    rates = found["figures"]["hit_rate@10"]
    assert (rates["control"]["value"], rates["challenger"]["value"]) == (0.0, 1.0)
    assert rates["p_value"] < 1e-6
    assert found["figures"]["mean_reciprocal_rank"]["difference"]["value"] == pytest.approx(1.0)
    assert 0 < found["figures"]["list_age_s"]["control"]["low"] < found["figures"]["list_age_s"]["control"]["high"]
    assert 0 < found["lists"] <= min(challenged, len(divided) - challenged)
    assert all(10 < count <= ITEMS + 1 for count in found["listed"].values())
    shown = command(settings)
    for words in (NAME, "live since", "hit_rate@10", "50% of the users"):
        assert words in shown
