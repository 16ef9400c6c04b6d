"""A recommender in this process whose records are made by hand: what its steps cost, and what they write."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import redis
from kafka.consumer.fetcher import ConsumerRecord

from models.bundle import Bundle
from schemas.events import InteractionEvent, encode
from schemas.keys import USERS_PER_BUCKET, Keys
from schemas.records import Touch, pack_history
from schemas.settings import Settings
from workers import buckets
from workers.arms import Arm, Arms
from workers.bench import load
from workers.bench.footprint import PARTITIONS, VERSION
from workers.catalogue import Catalogue
from workers.dead_letters import DeadLetters
from workers.delivery import Batch, PositionStore
from workers.popularity import Popularity
from workers.profiles import all_profiles
from workers.recommender import Recommender
from workers.source import Owned, PartitionRecords

# Interactions of a step, each of another user, and steps; the first ones do not count.
STEP: Final = 256
STEPS: Final = 9
WARM_UP: Final = 3
# Topics that a user is interested in.
_LIKED: Final = 3
_USERS_AT_A_TIME: Final = 1000
_NOW: Final = 1_700_000_000
_TOPIC: Final = "interactions"


class System(NamedTuple):
    """A recommender without Kafka that owns all partitions; users whose histories are stored, and items."""

    recommender: Recommender
    owned: list[Owned]
    users: int
    items: int


class _NoKafka:
    """What a source is made with when its records are made by hand."""

    def subscribe(self, topics: list[str], listener: object) -> None:
        """Take note of nothing: there are no topics."""


def store_histories(client: redis.Redis, items: int, users: int, history: int) -> None:
    """Store a history for each user as a recommender does, spread over all partitions."""
    keys = Keys(load.PREFIX)
    store = PositionStore(client, keys)
    for partition in range(PARTITIONS):
        own = keys.users(partition)
        position = store.claim(own.position, 0)
        names = [_user(number) for number in range(partition, users, PARTITIONS)]
        count = max(-(-len(names) // USERS_PER_BUCKET), 1)
        for start in range(0, len(names), _USERS_AT_A_TIME):
            some = names[start : start + _USERS_AT_A_TIME]
            batch = Batch(own.position)
            buckets.write(batch, own.histories, {name: _history(name, items, history) for name in some}, count)
            batch.add(own.position, "HSET", "ids", len(names), "buckets", count)
            store.commit(batch, position, position.next)


def _history(user: str, items: int, length: int) -> bytes:
    """Return a history of ``length`` items of three topics, or of fewer where there are no more."""
    rng = np.random.default_rng(int(user))
    topics = load.topics(items)
    liked = rng.choice(topics, min(topics, _LIKED), replace=False)
    places = rng.choice(len(liked) * (items // topics), length, replace=False)
    touched = (liked[places % len(liked)] + topics * (places // len(liked))).tolist()
    return pack_history([Touch(str(item), 1.0, float(_NOW + n), "view") for n, item in enumerate(touched)])


def _user(number: int) -> str:
    return str(number)


def own_system(client: redis.Redis, bundle: Bundle, catalogue: Catalogue, users: int, items: int) -> System:
    """Return a recommender over ``catalogue`` for histories that :func:`store_histories` stored."""
    settings, keys = Settings(), Keys(load.PREFIX)
    arm = Arm.of("control", bundle, catalogue, client, keys, all_profiles(settings.recommend))
    popularity = Popularity(client, keys, PARTITIONS, catalogue, VERSION, settings.recommend)
    # Nothing is wrong with the records, so that no letter is ever written.
    letters = DeadLetters(None, settings)
    recommender = Recommender(settings, client, _NoKafka(), letters, Arms([arm]), popularity)
    popularity.refresh()
    store = PositionStore(client, keys)
    owned = []
    for partition in range(PARTITIONS):
        key = keys.users(partition).position
        owned.append(Owned(partition, key, store.claim(key, 0)))
        recommender.source.owned[partition] = owned[-1]
        recommender._on_claimed(owned[-1])
    return System(recommender, owned, users, items)


def steps(system: System) -> tuple[list[float], list[float]]:
    """Return the seconds of processor time and of time that each step took, of those that count."""
    rng = np.random.default_rng(load.SEED)
    cpu, wall = [], []
    for step in range(WARM_UP + STEPS):
        first = step * STEP
        users = [number % system.users for number in range(first, first + STEP)]
        batches = _records(system, users, rng.integers(system.items, size=STEP).tolist())
        cpu_start, wall_start = time.process_time(), time.perf_counter()
        system.recommender.step(batches)
        cpu.append(time.process_time() - cpu_start)
        wall.append(time.perf_counter() - wall_start)
    return cpu[WARM_UP:], wall[WARM_UP:]


def _records(system: System, users: Sequence[int], items: Sequence[int]) -> list[PartitionRecords]:
    """Return a record for each user and item, in the partition of the user."""
    batches = []
    for owned in system.owned:
        pairs = [pair for pair in zip(users, items, strict=True) if pair[0] % PARTITIONS == owned.partition]
        records = [
            _record(owned.partition, owned.position.next + place, InteractionEvent(_user(user), str(item), kind="view"))
            for place, (user, item) in enumerate(pairs)
        ]
        batches.append(PartitionRecords(owned, records))
    return batches


def _record(partition: int, offset: int, event: InteractionEvent) -> ConsumerRecord:
    key, value = event.user_id.encode(), encode(event)
    known: dict[str, Any] = dict.fromkeys(ConsumerRecord._fields)
    known |= {"topic": _TOPIC, "partition": partition, "offset": offset, "key": key, "value": value, "headers": []}
    return ConsumerRecord(**known | {"timestamp": int(1000 * time.time())})


def lists(client: redis.Redis) -> tuple[float, float]:
    """Return the bytes that a list takes in Redis, and its information content; means over users of the first step."""
    keys = Keys(load.PREFIX)
    names = [keys.recommendations(_user(number)) for number in range(STEP)]
    pipeline = client.pipeline(transaction=False)
    for name in names:
        pipeline.memory_usage(name)
    taken: list[int] = pipeline.execute()
    documents: Any = client.mget(names)
    content = sum(_information(msgspec.json.decode(document)) for document in documents)
    return sum(taken) / len(names), content / len(names)


def _information(document: Any) -> int:
    """Return the bytes of all texts and numbers in a JSON document."""
    match document:
        case dict():
            return sum(map(_information, document.values()))
        case list():
            return sum(map(_information, document))
        case str():
            return len(document.encode())
    return len(msgspec.json.encode(document))
