"""Starting a worker: wait for a model, run a session under it, and take over the next one."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Final, Literal

import redis
import structlog

from models.bundle import Bundle, BundleError
from models.registry import Registry
from schemas.keys import Keys
from schemas.settings import Settings
from workers import connections, metrics
from workers.anomalies import Anomalies
from workers.catalogue import Catalogue
from workers.dead_letters import DeadLetters
from workers.encoder import Encoder
from workers.follower import Follower
from workers.health import Health
from workers.lookup import current_version
from workers.loop import run
from workers.popularity import Popularity
from workers.queries import QueryServer
from workers.recommender import Recommender

log = structlog.get_logger()

Role = Literal["encoder", "recommender"]
MODEL_CHECK_S: Final = 1.0
WAIT_LOG_S: Final = 30.0
# The broker limits compressed sizes: what comes out of a batch may be much larger, and must go back in.
LARGEST_LETTER: Final = 256 << 20


def run_worker(role: Role, settings: Settings) -> None:
    """Run a worker until SIGTERM or SIGINT, across model versions.

    Raises:
        ConnectionFailed, BundleError, TooManyDeadLetters, PositionOutOfRange: what a person must repair.
    """
    stop = threading.Event()
    _stop_on_signals(stop)
    with Health(settings.health) as health:
        connections.ensure_topics(settings)
        client = connections.redis_client(settings.redis)
        keys = Keys(settings.redis.prefix)
        models = _Models(client, keys, Registry(settings.registry))
        while (bundle := models.wait(health, stop)) is not None:
            structlog.contextvars.bind_contextvars(worker=role, model=bundle.version)
            metrics.MODEL.clear()
            metrics.MODEL.labels(bundle.version).set(1)
            session = _encode if role == "encoder" else _recommend
            session(settings, client, bundle, models, health, stop)
            health.not_ready = "changing the model"
    log.info("stopped")


class _Models:
    """Watches the pointer to the current model."""

    def __init__(self, client: redis.Redis, keys: Keys, registry: Registry) -> None:
        self._redis = client
        self._keys = keys
        self._registry = registry
        self._checked_at = 0.0
        # Version -> whether its bundle could be loaded.
        self._looked_at: dict[str, bool] = {}

    def wait(self, health: Health, stop: threading.Event) -> Bundle | None:
        """Return the current model, None when ``stop`` is set before there is one."""
        said_at = -WAIT_LOG_S
        while not stop.is_set():
            health.beat()
            version = current_version(self._redis, self._keys)
            if version is not None:
                return self._registry.load(version)
            health.not_ready = "no model yet: train one with `latentstream train`"
            if time.monotonic() - said_at >= WAIT_LOG_S:
                said_at = time.monotonic()
                log.info("waiting_for_model", reason=health.not_ready)
            stop.wait(MODEL_CHECK_S)
        return None

    def newer(self, than: str) -> str | None:
        """Return the promoted version if it is not ``than`` and can be loaded; looks once a second."""
        if time.monotonic() - self._checked_at < MODEL_CHECK_S:
            return None
        self._checked_at = time.monotonic()
        version = current_version(self._redis, self._keys)
        if version is None or version == than:
            return None
        if version not in self._looked_at:
            self._looked_at[version] = self._loads(version)
        return version if self._looked_at[version] else None

    def _loads(self, version: str) -> bool:
        """A damaged bundle must not take the service down: the old one goes on."""
        try:
            self._registry.load(version)
        except BundleError as error:
            log.error("model_refused", version=version, reason=str(error))
            return False
        return True

    def encoded_as_far(self, version: str, than: str, partitions: int) -> bool:
        """Return whether the items under ``version`` are encoded as far as under ``than``."""
        pipeline = self._redis.pipeline(transaction=False)
        for partition in range(partitions):
            pipeline.hget(self._keys.items(version, partition).position, "next")
            pipeline.hget(self._keys.items(than, partition).position, "next")
        positions = [int(position or 0) for position in pipeline.execute()]
        return all(new >= old for new, old in zip(positions[::2], positions[1::2], strict=True))


def _encode(
    settings: Settings, client: redis.Redis, bundle: Bundle, models: _Models, health: Health, stop: threading.Event
) -> None:
    producer = connections.producer(settings, max_request_size=LARGEST_LETTER)
    dead_letters, anomalies = DeadLetters(producer, settings), Anomalies(producer, settings)
    encoder = Encoder(settings, client, connections.consumer(settings, "encoder"), dead_letters, anomalies, bundle)
    try:
        health.not_ready = None
        log.info("ready")
        run(encoder, health, stop, lambda: models.newer(bundle.version) is not None)
    finally:
        encoder.source.close()
        dead_letters.close()


def _recommend(
    settings: Settings, client: redis.Redis, bundle: Bundle, models: _Models, health: Health, stop: threading.Event
) -> None:
    keys = Keys(settings.redis.prefix)
    consumer = connections.consumer(settings, "recommender")
    topics = (settings.kafka.items_topic, settings.kafka.interactions_topic)
    items, interactions = (connections.partitions(consumer, [topic])[topic] for topic in topics)
    catalogue = Catalogue(bundle)
    follower = Follower(client, keys, bundle.version, items, catalogue)
    popularity = Popularity(client, keys, interactions, catalogue, bundle.version, settings.recommend)
    queries = QueryServer(client, keys, settings.recommend, bundle, catalogue, popularity, interactions)
    dead_letters = DeadLetters(connections.producer(settings, max_request_size=LARGEST_LETTER), settings)
    recommender = Recommender(settings, client, consumer, dead_letters, bundle, catalogue, popularity)

    def superseded() -> bool:
        follower.check()
        queries.check()
        # The old lists stay until every item is encoded under the new model.
        version = models.newer(bundle.version)
        return version is not None and models.encoded_as_far(version, bundle.version, items)

    follower.start()
    try:
        health.not_ready = "loading the codes"
        while not follower.loaded.wait(MODEL_CHECK_S) and not stop.is_set():
            health.beat()
            follower.check()
        popularity.refresh()
        queries.start()
        health.not_ready = None
        log.info("ready", items=len(catalogue.retrieval))
        run(recommender, health, stop, superseded)
    finally:
        queries.close()
        follower.close()
        recommender.source.close()
        dead_letters.close()
        catalogue.close()


def _stop_on_signals(stop: threading.Event) -> None:
    def handle(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
