"""What an experiment counts: sums over groups of users, written with the position, so that nothing counts twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, cast

import numpy as np
import redis

from models.arrays import Doubles
from schemas.experiments import ARMS, GROUPS, ArmName, Experiment
from schemas.keys import Keys
from workers.delivery import Batch
from workers.quality import HIT_AT, Judgement

# What is summed over the interactions of a group.
FIGURES: Final = ("judged", f"hits@{HIT_AT}", "hits", "reciprocal_rank", "list_age_s")
Sums = dict[str, Doubles]


def add_to(batch: Batch, key: str, experiment: Experiment, judgements: Iterable[Judgement]) -> None:
    """Add to ``batch`` what counts ``judgements`` in the hash ``key``.

    Only lists of a user's own count that the arm's model made: everybody who has none yet sees the same popular
    list, and a list of before the experiment says nothing of its arm. With a shadow, users count once both have one.
    """
    sums: Counter[str] = Counter()
    own = [found for found in judgements if found.own]
    shadowed = {(found.user_id, found.profile) for found in own if found.model == experiment.challenger}
    for found in own:
        arm = experiment.counted_for(found.user_id, found.model)
        if arm is None or (experiment.shadow and (found.user_id, found.profile) not in shadowed):
            continue
        group = f"{arm}:{found.profile}:{experiment.group(found.user_id)}"
        values = (1, 1 <= found.rank <= HIT_AT, found.rank > 0, 1 / found.rank if found.rank else 0, found.age_s)
        for figure, value in zip(FIGURES, values, strict=True):
            sums[f"{group}:{figure}"] += value  # type: ignore[assignment]  # a Counter may count in floats
    for field, value in sums.items():
        if value:
            batch.add(key, "HINCRBYFLOAT", field, repr(float(value)))


def read(client: redis.Redis, keys: Keys, partitions: int, name: str) -> dict[str, dict[ArmName, Sums]]:
    """Return the sums of the experiment ``name`` by profile, arm and figure, each float64 ``[GROUPS]``."""
    pipeline = client.pipeline(transaction=False)
    for partition in range(partitions):
        pipeline.hgetall(keys.users(partition).experiment(name))
    found: dict[str, dict[ArmName, Sums]] = {}
    for counts in cast(list[Mapping[bytes, bytes]], pipeline.execute()):
        for field, value in counts.items():
            arm, profile, group, figure = field.decode().split(":")
            if arm in ARMS and figure in FIGURES:
                arms = found.setdefault(profile, {each: _nothing() for each in ARMS})
                arms[arm][figure][int(group)] += float(value)
    return found


def _nothing() -> Sums:
    return {figure: np.zeros(GROUPS) for figure in FIGURES}
