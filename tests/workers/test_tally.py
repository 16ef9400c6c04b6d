"""What an experiment counts, in a real Redis."""

from __future__ import annotations

import pytest
import redis

from schemas.experiments import ARMS, Experiment
from schemas.keys import Keys
from schemas.settings import Settings
from workers import tally
from workers.delivery import Batch, PositionStore
from workers.quality import Judgement

EXPERIMENT = Experiment("spring", "v1", "v2", 0.5)
USERS = {arm: [str(n) for n in range(100) if EXPERIMENT.arm(str(n)) == arm][:3] for arm in ARMS}


def judgement(user: str, rank: int, *, model: str, own: bool = True, profile: str = "default") -> Judgement:
    return Judgement(user, profile, model, "model", own, rank, 7.5)


def test_counts_are_summed_over_partitions_and_once_for_each_commit(
    redis_client: redis.Redis, settings: Settings
) -> None:
    keys = Keys(settings.redis.prefix)
    store = PositionStore(redis_client, keys)
    first, second, other = USERS["control"]
    challenged = USERS["challenger"][0]
    found = [
        judgement(first, 4, model="v1"),
        judgement(first, 30, model="v1"),
        judgement(second, 0, model="v1"),
        judgement(challenged, 1, model="v2"),
        judgement(challenged, 2, model="v2", profile="home"),
        judgement(other, 1, model="v2"),  # A list of before: its user is in the other arm now.
        judgement(challenged, 1, model="v1"),
        judgement(other, 1, model="v1", own=False),  # Everybody's list.
    ]
    for partition in range(2):
        users = keys.users(partition)
        position = store.claim(users.position, 0)
        batch = Batch(users.position)
        tally.add_to(batch, users.experiment("spring"), EXPERIMENT, found)
        store.commit(batch, position, 1)
    sums = tally.read(redis_client, keys, 2, "spring")
    assert set(sums) == {"default", "home"}
    totals = {arm: {name: float(values.sum()) for name, values in sums["default"][arm].items()} for arm in ARMS}
    assert totals["control"] == pytest.approx(
        {"judged": 6, "hits@10": 2, "hits": 4, "reciprocal_rank": 2 * (1 / 4 + 1 / 30), "list_age_s": 6 * 7.5}
    )
    assert totals["challenger"] == pytest.approx(
        {"judged": 2, "hits@10": 2, "hits": 2, "reciprocal_rank": 2, "list_age_s": 15}
    )
    assert sums["home"]["control"]["judged"].sum() == 0
    judged = sums["default"]["control"]["judged"]
    assert judged[EXPERIMENT.group(first)] >= 4
    assert tally.read(redis_client, keys, 2, "summer") == {}


def test_an_experiment_of_another_name_counts_elsewhere(settings: Settings) -> None:
    users = Keys(settings.redis.prefix).users(3)
    assert users.experiment("spring") == f"{settings.redis.prefix}:{{u3}}:experiment:spring"


def test_with_a_shadow_users_count_for_both_models_once_both_have_a_list(
    redis_client: redis.Redis, settings: Settings
) -> None:
    shadow = Experiment("spring", "v1", "v2", 0.5, shadow=True)
    chosen, other = (
        next(str(n) for n in range(100) if shadow.is_shadowed(str(n)) is wanted) for wanted in (True, False)
    )
    found = [
        judgement(chosen, 4, model="v1"),
        judgement(chosen, 1, model="v2"),
        judgement(chosen, 2, model="v1", profile="home"),  # The shadow has no such list yet.
        judgement(other, 1, model="v1"),
    ]
    keys = Keys(settings.redis.prefix)
    store, users = PositionStore(redis_client, keys), keys.users(0)
    batch = Batch(users.position)
    tally.add_to(batch, users.experiment("spring"), shadow, found)
    store.commit(batch, store.claim(users.position, 0), 1)
    sums = tally.read(redis_client, keys, 1, "spring")
    assert set(sums) == {"default"}
    ranks = {arm: float(sums["default"][arm]["reciprocal_rank"].sum()) for arm in ARMS}
    assert ranks == pytest.approx({"control": 0.25, "challenger": 1})
