"""Starting a worker: wait for a model, run a session under it, and take over the next one."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Final, Literal

import redis
import structlog

from models.bundle import Bundle
from models.registry import Registry
from schemas.experiments import ARMS, Experiment
from schemas.keys import Keys
from schemas.settings import Settings
from workers import connections, metrics
from workers.anomalies import Anomalies
from workers.arms import Arm, Arms
from workers.catalogue import Catalogue
from workers.challenger import Challenger
from workers.dead_letters import DeadLetters, dead_letters_producer
from workers.encoder import Encoder
from workers.follower import Follower
from workers.health import Health
from workers.loop import run
from workers.model_watch import MODEL_CHECK_S, Models
from workers.popularity import Popularity
from workers.profiles import all_profiles
from workers.queries import QueryServer
from workers.recommender import Recommender

log = structlog.get_logger()

Role = Literal["encoder", "recommender"]
# Python's 5 ms would be what each step of the main loop waits for, while queries or the follower have much to do.
THREAD_SWITCH_S: Final = 0.0005
BUILT_CHECK_S: Final = 0.01


def run_worker(role: Role, settings: Settings) -> None:
    """Run a worker until SIGTERM or SIGINT, across model versions.

    Raises:
        ConnectionFailed, Denied, BundleError, TooManyDeadLetters, PositionOutOfRange: what a person must repair.
    """
    sys.setswitchinterval(THREAD_SWITCH_S)
    stop = threading.Event()
    stop_on_signals(stop)
    with Health(settings.health) as health:
        connections.ensure_topics(settings)
        client = connections.redis_client(settings.redis)
        keys = Keys(settings.redis.prefix)
        models = Models(client, keys, Registry(settings.registry))
        while (bundle := models.wait(health, stop)) is not None:
            structlog.contextvars.bind_contextvars(worker=role, model=bundle.version)
            metrics.MODEL.clear()
            metrics.INDEX_ITEMS.clear()
            metrics.INDEX_RECALL.clear()
            metrics.INDEX_OFFSET.clear()
            metrics.MODEL.labels(bundle.version).set(1)
            session = _encode if role == "encoder" else _recommend
            session(settings, client, bundle, models, health, stop)
            health.not_ready = "changing the model"
    log.info("stopped")


def _encode(
    settings: Settings, client: redis.Redis, bundle: Bundle, models: Models, health: Health, stop: threading.Event
) -> None:
    producer = dead_letters_producer(settings)
    dead_letters, anomalies = DeadLetters(producer, settings), Anomalies(producer, settings)
    encoder = Encoder(settings, client, connections.consumer(settings, "encoder"), dead_letters, anomalies, bundle)
    encoder.source.lag.publish(settings.kafka.items_topic)
    challenger = Challenger(settings, client, models.challenger)

    def superseded() -> bool:
        if not models.due():
            return False
        challenger.follow(models.experiment(bundle))
        return models.newer(bundle) is not None

    try:
        health.not_ready = None
        log.info("ready")
        run(encoder, health, stop, superseded)
    finally:
        challenger.close()
        encoder.close()
        dead_letters.close()


def _recommend(
    settings: Settings, client: redis.Redis, bundle: Bundle, models: Models, health: Health, stop: threading.Event
) -> None:
    keys = Keys(settings.redis.prefix)
    consumer = connections.consumer(settings, "recommender")
    topics = (settings.kafka.items_topic, settings.kafka.interactions_topic)
    items, interactions = (connections.partitions(consumer, [topic])[topic] for topic in topics)
    experiment = models.live_experiment(bundle, items)
    arms = _arms(settings, client, bundle, experiment, models)
    control = arms.control.catalogue
    followers = [Follower(client, keys, arm.version, items, arm.catalogue) for arm in arms]
    popularity = Popularity(client, keys, interactions, control, bundle.version, settings.recommend)
    queries = QueryServer(client, keys, settings.recommend, arms, popularity, interactions)
    dead_letters = DeadLetters(dead_letters_producer(settings), settings)
    recommender = Recommender(settings, client, consumer, dead_letters, arms, popularity)
    recommender.source.lag.publish(settings.kafka.interactions_topic)

    def superseded() -> bool:
        queries.check()
        for follower in followers:
            follower.check()
        if not models.due():
            return False
        # The old lists stay until every item is encoded under the new model.
        version = models.newer(bundle)
        if version is not None and models.encoded_as_far(version, bundle.version, items):
            return True
        return models.live_experiment(bundle, items) != experiment

    for follower in followers:
        follower.start()
    try:
        health.not_ready = "loading the codes"
        for follower in followers:
            while not follower.loaded.wait(MODEL_CHECK_S) and not stop.is_set():
                health.beat()
                follower.check()
        # Meanwhile the partitions and the queries are better with workers that have an index.
        health.not_ready = "building the index"
        while not all(arm.catalogue.built for arm in arms) and not stop.wait(BUILT_CHECK_S):
            health.beat()
        popularity.refresh()
        queries.start()
        health.not_ready = None
        log.info("ready", items=len(control.retrieval), experiment=experiment and experiment.name)
        run(recommender, health, stop, superseded)
    finally:
        queries.close()
        for follower in followers:
            follower.close()
        recommender.close()
        dead_letters.close()
        for arm in arms:
            arm.catalogue.close()


def _arms(
    settings: Settings, client: redis.Redis, bundle: Bundle, experiment: Experiment | None, models: Models
) -> Arms:
    bundles = [bundle, models.challenger(experiment)] if experiment is not None else [bundle]
    keys, profiles = Keys(settings.redis.prefix), all_profiles(settings.recommend)
    arms = []
    for name, own in zip(ARMS, bundles, strict=False):
        metrics.MODEL.labels(own.version).set(1)
        arms.append(Arm.of(name, own, Catalogue(own), client, keys, profiles))
    return Arms(arms, experiment)


def stop_on_signals(stop: threading.Event) -> None:
    """Set ``stop`` on SIGTERM and SIGINT."""

    def handle(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
