"""Starting, ending and reading an experiment: two model versions side by side, users divided by a hash."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec
import redis

from models.experiments import Estimate, difference, ratio
from schemas.documents import Recommendations
from schemas.experiments import ARMS, ArmName, BadExperiment, Experiment
from schemas.keys import Keys
from workers import tally
from workers.errors import Repairable
from workers.quality import HIT_AT

# How long the counts of an ended experiment are kept. Not shorter than a recommender takes to notice its end.
KEPT_S: Final = 24 * 3600
# What is divided by what.
RATES: Final = {
    f"hit_rate@{HIT_AT}": f"hits@{HIT_AT}",
    "hit_rate": "hits",
    "mean_reciprocal_rank": "reciprocal_rank",
    "list_age_s": "list_age_s",
}
# Lists of each arm in which the different items are counted, of each profile.
LISTS: Final = 2000
_LIST: Final = msgspec.json.Decoder(Recommendations)
# Only while the experiment is still the same one.
_MARK_LIVE: Final = """
if redis.call('HGET', KEYS[1], 'name') == ARGV[1] then redis.call('HSET', KEYS[1], 'live_at', ARGV[2]) end
"""


class ExperimentFailed(Repairable):
    """An experiment cannot be started or ended."""


class Value(msgspec.Struct, frozen=True):
    """An estimate with its 95 % interval; null where there is too little to say."""

    value: float | None
    low: float | None
    high: float | None


class Comparison(msgspec.Struct, frozen=True):
    """One figure of both arms, challenger minus control, and how likely so large a difference is by chance."""

    control: Value
    challenger: Value
    difference: Value
    p_value: float | None


class ProfileReport(msgspec.Struct, frozen=True):
    """One profile. ``listed`` counts the different items in ``lists`` lists of each arm."""

    judged: dict[str, int]
    figures: dict[str, Comparison]
    lists: int
    listed: dict[str, int]


class Report(msgspec.Struct, frozen=True):
    """An experiment as it stands. ``encoded`` is the share of the items' events that the challenger has encoded."""

    name: str
    control: str
    challenger: str
    share: float
    shadow: bool
    started_at: str
    started_by: str
    live_at: str
    encoded: float
    profiles: dict[str, ProfileReport]


def read_experiment(client: redis.Redis, keys: Keys) -> Experiment | None:
    """Return the experiment that stands in Redis, None where there is none.

    Raises:
        BadExperiment: what stands there is none.
    """
    try:
        return Experiment.read(cast(dict[bytes, bytes], client.hgetall(keys.experiment)))
    except BadExperiment as error:
        raise BadExperiment(f"what stands in {keys.experiment} is no experiment: {error}") from error


def mark_live(client: redis.Redis, keys: Keys, experiment: Experiment, now: str) -> None:
    """Say that lists of the challenger are made from ``now`` on."""
    client.eval(_MARK_LIVE, 1, keys.experiment, experiment.name, now)


def start(client: redis.Redis, keys: Keys, partitions: int, experiment: Experiment) -> None:
    """Start an experiment; counts that an earlier one of the same name left are removed.

    Raises:
        ExperimentFailed: another one runs.
    """
    if client.exists(keys.experiment):
        raise ExperimentFailed("an experiment runs already: end it with `latentstream experiment stop`")
    pipeline = client.pipeline(transaction=False)
    for partition in range(partitions):
        pipeline.delete(keys.users(partition).experiment(experiment.name))
    pipeline.hset(keys.experiment, mapping=cast(Mapping[Any, Any], experiment.fields()))
    pipeline.execute()


def stop(client: redis.Redis, keys: Keys, partitions: int, experiment: Experiment) -> None:
    """End an experiment: everybody gets the lists of the current model again."""
    pipeline = client.pipeline(transaction=False)
    pipeline.delete(keys.experiment)
    for partition in range(partitions):
        pipeline.expire(keys.users(partition).experiment(experiment.name), KEPT_S)
    pipeline.execute()


def report(client: redis.Redis, keys: Keys, items: int, interactions: int, experiment: Experiment) -> Report:
    """Return how an experiment stands; ``items`` and ``interactions`` are the partitions of these topics."""
    sums = tally.read(client, keys, interactions, experiment.name)
    users = _users(client, keys, interactions, experiment)
    profiles = {}
    for profile, arms in sorted(sums.items()):
        lists, listed = _listed(client, keys, experiment, users, profile)
        profiles[profile] = ProfileReport(
            {arm: round(arms[arm]["judged"].sum()) for arm in ARMS},
            {name: _compared(arms, figure) for name, figure in RATES.items()},
            lists,
            listed,
        )
    return Report(
        experiment.name,
        experiment.control,
        experiment.challenger,
        experiment.share,
        experiment.shadow,
        experiment.started_at,
        experiment.started_by,
        experiment.live_at,
        _encoded(client, keys, items, experiment),
        profiles,
    )


def _compared(arms: Mapping[ArmName, tally.Sums], figure: str) -> Comparison:
    control, challenger = (ratio(arms[arm][figure], arms[arm]["judged"]) for arm in ARMS)
    apart = difference(control, challenger)
    return Comparison(_value(control), _value(challenger), _value(apart), _finite(apart.p_value()))


def _value(estimate: Estimate) -> Value:
    return Value(_finite(estimate.value), *map(_finite, estimate.interval()))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _encoded(client: redis.Redis, keys: Keys, partitions: int, experiment: Experiment) -> float:
    pipeline = client.pipeline(transaction=False)
    for version in (experiment.control, experiment.challenger):
        for partition in range(partitions):
            pipeline.hget(keys.items(version, partition).position, "next")
    offsets = [int(offset or 0) for offset in pipeline.execute()]
    control, challenger = sum(offsets[:partitions]), sum(offsets[partitions:])
    return min(challenger / control, 1.0) if control else 1.0


def _users(client: redis.Redis, keys: Keys, partitions: int, experiment: Experiment) -> dict[ArmName, list[str]]:
    """Return some users of each arm: those in the first buckets, which a hash has put there."""
    found: dict[ArmName, list[str]] = {arm: [] for arm in ARMS}
    for partition in range(partitions):
        users = keys.users(partition)
        buckets = int(cast(bytes | None, client.hget(users.position, "buckets")) or 1)
        enough = (partition + 1) * LISTS / partitions
        for bucket in range(buckets):
            if min(map(len, found.values())) >= enough:
                break
            for name in cast(list[bytes], client.hkeys(users.histories(bucket))):
                user = name.decode()
                found[experiment.arm(user)].append(user)
    return found


def _listed(
    client: redis.Redis, keys: Keys, experiment: Experiment, users: Mapping[ArmName, list[str]], profile: str
) -> tuple[int, dict[str, int]]:
    """Return in how many lists of each arm it counted, and how many different items there were."""
    lists = {}
    for arm, names in users.items():
        stored = cast(
            list[bytes | None], client.mget([keys.recommendations(user, profile) for user in names]) if names else []
        )
        documents = [_LIST.decode(data) for data in stored if data]
        lists[arm] = [document.items for document in documents if document.model == experiment.version(arm)]
    count = min(LISTS, *map(len, lists.values()))
    return count, {arm: len({item for items in own[:count] for item in items}) for arm, own in lists.items()}
