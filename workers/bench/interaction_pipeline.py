"""``latentstream bench pipeline``, interactions: one recommender process against its stages alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import msgspec
import numpy as np
import redis

from models.arrays import Bytes, Ints
from models.bundle import Bundle, ModelParts, save_bundle
from models.index import LatentIndex
from models.registry import Registry
from schemas.events import InteractionEvent
from schemas.keys import USERS_PER_BUCKET, Keys
from schemas.records import Touch, pack_history
from schemas.settings import Settings
from workers import buckets, connections
from workers.arms import Arm, Arms
from workers.bench.load import LATENT_DIM, random_bundle
from workers.bench.stages import alone, polled, size
from workers.bench.stored_items import partition_of, store_items
from workers.bench.windows import WINDOWS, Drained, Rate, Stopwatch, drained
from workers.catalogue import Catalogue
from workers.dead_letters import DeadLetters, dead_letters_producer
from workers.delivery import Batch, PositionStore
from workers.follower import Follower
from workers.peak_memory import peak_memory_mb
from workers.popularity import Popularity
from workers.profiles import all_profiles
from workers.promotions import promote
from workers.recommender import Recommender
from workers.sandbox import Backlog, Sandbox
from workers.source import PartitionRecords
from workers.subprocesses import Workers
from workers.updates import UserOf
from workers.versions import version_prefix

NAME: Final = "bench-pipeline-interactions"
HISTORIES: Final = (10, 100, 500)
ITEMS: Final = 100_000
USERS: Final = 4000
LIST_LENGTH: Final = 50
TOPICS: Final = 500
_TOPICS_OF_A_USER: Final = 5
# How far items lie from their topic, which is one from the middle in each dimension.
_SPREAD: Final = 0.5
_CHANGES: Final[dict[str, dict[str, Any]]] = {"recommend": {"k": LIST_LENGTH}}
_USERS_AT_A_TIME: Final = 500
_WARM_UP: Final = 0.5
_FIRST_SECOND: Final = 1_700_000_000.0

Say = Callable[[str], None]


class Stages(msgspec.Struct, frozen=True):
    """Interactions a second of each stage alone, on the same events in batches of the same size."""

    poll: float
    decode: float
    histories: float
    recommend: float
    lists: float
    store: float


class Interactions(msgspec.Struct, frozen=True):
    """Histories of one length. Rates are interactions a second, medians of windows; ``users`` is the end-to-end rate
    in users ranked: of several interactions of a user in one batch one list is made. ``spread`` has the slowest and
    the fastest windows.
    """

    end_to_end: float
    users: float
    stages: Stages
    of_slowest_stage: float
    cpu_s_per_million: float
    peak_mb: float
    spread: dict[str, tuple[float, float]]
    events: int
    items: int


def measure(history: int, events: int, say: Say, items: int = ITEMS) -> Interactions:
    """Let one recommender process work through ``events`` interactions of users with ``history`` items each.

    Raises:
        StackError, ConnectionFailed, SandboxError: what a person must repair.
    """
    sandbox = Sandbox.open(f"{NAME}-{history}", say, _CHANGES)
    client = connections.redis_client(sandbox.settings.redis)
    say(f"Storing {items:,} items and {USERS:,} users with {history} items each; publishing {events:,} interactions.")
    version = _save_model(sandbox.settings)
    bundle = Registry(sandbox.settings.registry).load(version)
    topics = np.random.default_rng(0).integers(TOPICS, size=items)
    store_items(client, sandbox.settings, version, [str(number) for number in range(items)], _codes(bundle, topics))
    promote(client, sandbox.keys, version, "to measure")
    _store_histories(client, sandbox.settings, history, topics)
    sandbox.publish(_events(events, items))
    # First, because the stages need the histories as they were.
    stages, share = _alone(sandbox, bundle, history, topics, events)
    say(f"histories of {history}: each stage alone is measured; now the whole.")
    whole, peak_mb = _end_to_end(sandbox, client)
    rates = {"end_to_end": whole.rate, **stages}
    slowest = min(rate.median for rate in stages.values())
    return Interactions(
        end_to_end=whole.rate.median,
        users=round(whole.rate.median * share, 1),
        stages=Stages(**{name: rate.median for name, rate in stages.items()}),
        of_slowest_stage=round(whole.rate.median / slowest, 3),
        cpu_s_per_million=whole.cpu_s_per_million,
        peak_mb=round(peak_mb, 1),
        spread={name: (rate.lowest, rate.highest) for name, rate in rates.items()},
        events=events,
        items=items,
    )


def _save_model(settings: Settings) -> str:
    bundle = random_bundle("interactions")
    parts = ModelParts(bundle.content, bundle.space, bundle.user_codec)
    root = settings.registry
    return save_bundle(root, parts, version_prefix=version_prefix(), metrics={}, settings={}, offsets={}).name


def _codes(bundle: Bundle, topics: Ints) -> Bytes:
    """Return codes of items that lie around their topics, as those of real ones do, uint8 ``[items, code_bytes]``."""
    if bundle.content is None:
        raise ValueError("the model has no codes")
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((TOPICS, LATENT_DIM), np.float32)
    latents = centres[topics] + _SPREAD * rng.standard_normal((len(topics), LATENT_DIM), np.float32)
    return bundle.content.codec.encode(latents)


def _events(count: int, items: int) -> Iterator[InteractionEvent]:
    rng = np.random.default_rng(1)
    for user, item in zip(rng.integers(USERS, size=count), rng.integers(items, size=count), strict=True):
        yield InteractionEvent(f"user-{user}", str(item), timestamp=_FIRST_SECOND + 1000)


def _store_histories(client: redis.Redis, settings: Settings, length: int, topics: Ints) -> None:
    """Store a history for each user, as a recommender does: of items of a few topics, chosen at random."""
    of_topic = [np.flatnonzero(topics == topic) for topic in range(TOPICS)]
    rng = np.random.default_rng(2)
    keys = Keys(settings.redis.prefix)
    store = PositionStore(client, keys)
    by_partition: list[list[str]] = [[] for _ in range(settings.kafka.partitions)]
    for number in range(USERS):
        name = f"user-{number}"
        by_partition[partition_of(name, len(by_partition))].append(name)
    for partition, users in enumerate(by_partition):
        own = keys.users(partition)
        position = store.claim(own.position, 0)
        count = max(-(-len(users) // USERS_PER_BUCKET), 1)
        for start in range(0, len(users), _USERS_AT_A_TIME):
            batch = Batch(own.position)
            histories = {}
            for user in users[start : start + _USERS_AT_A_TIME]:
                liked = np.concatenate([of_topic[topic] for topic in rng.choice(TOPICS, _TOPICS_OF_A_USER)])
                chosen = rng.permutation(np.unique(liked))[:length].tolist()
                touches = [Touch(str(item), 1.0, _FIRST_SECOND + n, "view") for n, item in enumerate(chosen)]
                histories[user] = pack_history(touches)
            buckets.write(batch, own.histories, histories, count)
            batch.add(own.position, "HSET", "ids", len(users), "buckets", count)
            store.commit(batch, position, 0)


def _end_to_end(sandbox: Sandbox, client: redis.Redis) -> tuple[Drained, float]:
    backlog = Backlog(sandbox, client)
    with Workers(sandbox, ["recommender"]) as workers:
        pid = workers.processes[0].pid
        whole = drained(backlog.interactions, pid, workers.check, warm_up=_WARM_UP)
        peak_mb = peak_memory_mb(pid)
    backlog.close()
    return whole, peak_mb


def _alone(sandbox: Sandbox, bundle: Bundle, history: int, topics: Ints, events: int) -> tuple[dict[str, Rate], float]:
    """Return the rate of each stage alone, and how many users there are to an interaction in a batch."""
    with alone(sandbox) as (settings, client):
        keys = Keys(settings.redis.prefix)
        _store_histories(client, settings, history, topics)
        catalogue = Catalogue(bundle)
        follower = Follower(
            client, Keys(sandbox.settings.redis.prefix), bundle.version, settings.kafka.partitions, catalogue
        )
        follower.start()
        follower.loaded.wait()
        catalogue.retrieval.wait_sealed()
        arms = Arms([Arm.of("control", bundle, catalogue, client, keys, all_profiles(settings.recommend))])
        popularity = Popularity(client, keys, settings.kafka.partitions, catalogue, bundle.version, settings.recommend)
        consumer = connections.consumer(settings, "recommender")
        dead_letters = DeadLetters(dead_letters_producer(settings), settings)
        recommender = Recommender(settings, client, consumer, dead_letters, arms, popularity)
        try:
            return _stages(recommender, catalogue.retrieval, events)
        finally:
            follower.close()
            recommender.close()
            dead_letters.close()
            catalogue.close()


def _folded(recommender: Recommender, batch: list[PartitionRecords]) -> list[UserOf]:
    parts, _ = recommender.decode(batch)
    updates = recommender.read(parts)
    pairs = [pair for update in updates for pair in update.lists.each()]
    recommender.fold(updates, pairs)
    return pairs


def _stages(recommender: Recommender, retrieval: LatentIndex, events: int) -> tuple[dict[str, Rate], float]:
    """Time the stages batch by batch: what a batch leaves in Redis is what the next one reads."""
    batches, poll = polled(recommender.source, events)
    # As in a worker that runs for a while: the index is built for the queries that are asked.
    for batch in batches:
        recommender.rank(_folded(recommender, batch))
    retrieval.wait_sealed()
    names = ("decode", "histories", "recommend", "lists", "store")
    watches = {name: Stopwatch(events // (2 * WINDOWS)) for name in names}
    users = 0
    for batch in batches:
        count = size(batch)
        parts, _ = watches["decode"].time(count, partial(recommender.decode, batch))
        updates = watches["histories"].time(0, partial(recommender.read, parts))
        pairs = [pair for update in updates for pair in update.lists.each()]
        watches["histories"].time(count, partial(recommender.fold, updates, pairs))
        users += len(pairs)
        watches["recommend"].time(count, partial(recommender.rank, pairs))
        watches["lists"].time(count, partial(recommender.write, pairs))
        watches["store"].time(count, partial(recommender.commit, updates))
    return {"poll": poll} | {name: watch.rate() for name, watch in watches.items()}, users / events
