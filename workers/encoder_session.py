"""An encoder worker: the items under the model that serves, and beside it under those that will or did."""

from __future__ import annotations

import threading
import time
from typing import Final

import redis
import structlog

from models.bundle import Bundle
from schemas.keys import Keys
from schemas.settings import Settings
from workers import connections
from workers.anomalies import Anomalies
from workers.dead_letters import DeadLetters, dead_letters_producer
from workers.encoder import Encoder
from workers.health import Health
from workers.lookup import current_version
from workers.loop import run
from workers.memory import RedisMemory
from workers.model_watch import Models
from workers.old_versions import remains, remove_items
from workers.second_encoders import SecondEncoders
from workers.serving import say_models
from workers.versions import IN_USE_S

log = structlog.get_logger()

_REMOVE_EVERY_S: Final = 60.0


class EncoderSession:
    """One process of the role. It changes the model without leaving its group."""

    def __init__(self, settings: Settings, client: redis.Redis, bundle: Bundle, models: Models) -> None:
        self._redis = client
        self._redis_memory = RedisMemory(client)
        self._keys = Keys(settings.redis.prefix)
        self._models = models
        self._bundle = bundle
        self._keep_s = settings.swap.keep_s
        self._remove_due = 0.0
        # Of other versions.
        self._shapes: dict[str, tuple[int, ...] | None] = {}
        producer = dead_letters_producer(settings)
        self._dead_letters, anomalies = DeadLetters(producer, settings), Anomalies(producer, settings)
        consumer = connections.consumer(settings, "encoder")
        self._encoder = Encoder(settings, client, consumer, self._dead_letters, anomalies, bundle, self._told)
        topic = settings.kafka.items_topic
        self._partitions = connections.partitions(consumer, [topic])[topic]
        self._encoder.source.lag.publish(topic, consumer)
        self._second = SecondEncoders(settings, client, models.load, self._encoder.source, anomalies)

    def run(self, health: Health, stop: threading.Event) -> None:
        """Work until ``stop`` is set, and close."""
        try:
            self._say_model()
            health.not_ready = None
            log.info("ready")
            run(self._encoder, health, stop, self._tend)
        finally:
            self._second.close()
            self._encoder.close()
            self._dead_letters.close()

    def _tend(self) -> bool:
        """Follow the pointers once a second. No model ends the session."""
        if not self._models.due():
            return False
        self._redis_memory.look()
        own, versions = self._bundle.version, self._models.versions
        versions.use([own])
        versions.serve(own)
        ages = versions.ages()
        promoted = self._models.newer(self._bundle)
        experiment = self._models.experiment(self._bundle)
        wanted = {version for version, age in ages.items() if age < IN_USE_S}
        wanted |= {promoted} if promoted else set()
        wanted |= {experiment.challenger} if experiment else set()
        self._second.follow(wanted - {own})
        if promoted and self._second.bundle(promoted) and versions.caught_up(promoted, own, self._partitions):
            self._take_over(promoted)
        elif time.monotonic() >= self._remove_due:
            self._remove_due = time.monotonic() + min(_REMOVE_EVERY_S, max(self._keep_s, 1.0))
            needed = wanted | {own, current_version(self._redis, self._keys), versions.serving()}
            self._remove([version for version, age in ages.items() if age > self._keep_s and version not in needed])
        return False

    def _take_over(self, version: str) -> None:
        bundle = self._second.bundle(version)
        if bundle is not None:
            log.info("model_changes", model=version, before=self._bundle.version)
            self._second.stop(version)
            self._encoder.take_over(bundle)
            self._bundle = bundle
            self._say_model()

    def _say_model(self) -> None:
        structlog.contextvars.bind_contextvars(model=self._bundle.version)
        say_models([self._bundle.version])

    def _remove(self, versions: list[str]) -> None:
        """Remove what is stored under ``versions`` in the partitions that are ours."""
        for version in versions:
            removed = sum(
                remove_items(self._redis, self._keys.items(version, partition))
                for partition in list(self._encoder.source.owned)
            )
            if removed:
                log.info("old_codes_removed", version=version, keys=removed)
            if not remains(self._redis, self._keys, version, range(self._partitions)):
                self._models.versions.forget(version)

    def _told(self, partition: int) -> int:
        """Return how far the dead letters of a partition are published: as far as it was read for the same features.

        Encoders of other versions of the same shape refuse the same events.
        """
        versions = self._models.versions
        others = {*versions.ages(), *filter(None, [versions.serving()])} - {self._bundle.version}
        content = self._bundle.content
        shape = content.input_shape if content is not None else None
        told = 0
        for version in others:
            if version not in self._shapes:
                self._shapes[version] = self._models.input_shape(version)
            if self._shapes[version] == shape:
                told = max(told, versions.offsets(version, partition + 1)[partition])
        return told
