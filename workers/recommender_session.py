"""A recommender worker: lists and queries by the current model, and how the next one takes its place.

Another model is made ready beside the one that serves: its codes are loaded and its index is built on other threads.
Then all is exchanged between two batches, without leaving the group, and the lists are made anew: those of users with
events at once, all others by and by. Until then the old ones stand.
"""

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
from workers.dead_letters import DeadLetters, dead_letters_producer
from workers.health import Health
from workers.loop import run
from workers.memory import RedisMemory
from workers.model_watch import Models
from workers.popularity import Popularity
from workers.queries import QueryServer
from workers.recommender import Recommender
from workers.serving import Preparation, Serving, Target, say_models

log = structlog.get_logger()

_LOOK_S: Final = 0.01
_RETRY_S: Final = 30.0


class RecommenderSession:
    """One process of the role."""

    def __init__(self, settings: Settings, client: redis.Redis, bundle: Bundle, models: Models) -> None:
        self._settings = settings
        self._redis = client
        self._redis_memory = RedisMemory(client)
        self._keys = Keys(settings.redis.prefix)
        self._models = models
        self._bundle = bundle
        self._consumer = connections.consumer(settings, "recommender")
        topics = (settings.kafka.items_topic, settings.kafka.interactions_topic)
        found = connections.partitions(self._consumer, topics)
        self._items, self._interactions = (found[topic] for topic in topics)
        self._preparation: Preparation | None = None
        self._retry_at = 0.0

    def run(self, health: Health, stop: threading.Event) -> None:
        """Work until ``stop`` is set, and close."""
        if not self._begin(health, stop):
            return
        try:
            health.not_ready = None
            self._say("ready")
            run(self._recommender, health, stop, self._tend)
        finally:
            if self._preparation is not None:
                self._preparation.abandon()
            self._queries.close()
            self._recommender.close()
            self._dead_letters.close()
            self._serving.close()

    def _begin(self, health: Health, stop: threading.Event) -> bool:
        """Make everything ready that serves; False when ``stop`` is set before it is.

        Not a part of :meth:`run`, whose variables would keep what served first for as long as the session lasts.
        """
        experiment = self._models.live_experiment(self._bundle, self._items)
        serving = self._first(Target(self._bundle.version, experiment), health, stop)
        if serving is None:
            return False
        self._serving = serving
        popularity = self._popularity(serving)
        self._dead_letters = DeadLetters(dead_letters_producer(self._settings), self._settings)
        self._recommender = Recommender(
            self._settings, self._redis, self._consumer, self._dead_letters, serving.arms, popularity
        )
        self._recommender.source.lag.publish(self._settings.kafka.interactions_topic, self._consumer)
        self._queries = self._answer(serving, popularity)
        return True

    def _first(self, target: Target, health: Health, stop: threading.Event) -> Serving | None:
        """Return what to begin with, None when ``stop`` is set before it is ready.

        Raises:
            BundleError, Denied: it cannot be made.
        """
        preparation = self._prepare(target, None)
        while (serving := preparation.ready) is None and not stop.wait(_LOOK_S):
            health.beat()
            health.not_ready = preparation.state
            preparation.check()
            if self._models.due():
                # Or its codes might not be kept up to date, or be removed.
                self._models.versions.use(target.versions)
        if serving is None:
            preparation.abandon()
        return serving

    def _tend(self) -> bool:
        """Follow the pointers once a second. No model ends the session."""
        self._queries.check()
        self._serving.check()
        if not self._models.due():
            return False
        self._redis_memory.look()
        serving, versions = self._serving.target, self._models.versions
        target = self._target()
        versions.use({*serving.versions, *target.versions})
        if target == serving:
            self._abandon()
        elif self._preparation is None or self._preparation.target != target:
            self._abandon()
            if time.monotonic() >= self._retry_at:
                self._preparation = self._prepare(target, self._serving)
        else:
            self._go_on(self._preparation)
        return False

    def _target(self) -> Target:
        """Return whom to serve with: a promoted model once its items are encoded."""
        own = self._bundle
        promoted = self._models.newer(own)
        if promoted is not None and self._models.versions.caught_up(promoted, own.version, self._items):
            return Target(promoted)
        return Target(own.version, self._models.live_experiment(own, self._items))

    def _prepare(self, target: Target, running: Serving | None) -> Preparation:
        preparation = Preparation(
            self._settings, self._redis, self._models, target, running, (self._items, self._interactions)
        )
        preparation.start()
        log.info("model_prepared", model=target.version, experiment=target.experiment and target.experiment.name)
        return preparation

    def _go_on(self, preparation: Preparation) -> None:
        """Exchange the models if the others are ready. Whatever becomes of them, those that serve go on."""
        try:
            preparation.check()
        except Exception as error:  # noqa: BLE001 - a new model must not take the service down
            reason = f"{type(error).__name__}: {error}"
            log.error("model_not_prepared", model=preparation.target.version, reason=reason, retry_s=_RETRY_S)
            self._abandon()
            self._retry_at = time.monotonic() + _RETRY_S
            return
        if preparation.ready is not None:
            self._exchange(preparation.ready)

    def _exchange(self, serving: Serving) -> None:
        # Should Redis not answer now, nothing has changed.
        popularity = self._popularity(serving)
        before, queries = self._serving, self._queries
        self._preparation = None
        self._queries = self._answer(serving, popularity)
        self._serving, self._bundle = serving, serving.arms.control.bundle

        def retire() -> None:
            queries.close()
            before.close(keep=serving)

        try:
            self._recommender.take_over(serving.arms, popularity)
        finally:
            # The new models are in use even where Redis does not answer: the partitions are claimed again then. The
            # old server of queries ends when its reading of the stream does, for which nobody has to wait.
            threading.Thread(target=retire, name="retire", daemon=True).start()
            self._say("model_exchanged")

    def _abandon(self) -> None:
        if self._preparation is not None:
            self._preparation.abandon()
            self._preparation = None

    def _popularity(self, serving: Serving) -> Popularity:
        control = serving.arms.control
        popularity = Popularity(
            self._redis, self._keys, self._interactions, control.catalogue, control.version, self._settings.recommend
        )
        popularity.refresh()
        return popularity

    def _answer(self, serving: Serving, popularity: Popularity) -> QueryServer:
        queries = QueryServer(
            self._redis, self._keys, self._settings.recommend, serving.arms, popularity, self._interactions
        )
        queries.start()
        return queries

    def _say(self, event: str) -> None:
        target, control = self._serving.target, self._serving.arms.control
        structlog.contextvars.bind_contextvars(model=target.version)
        say_models(target.versions)
        experiment = target.experiment and target.experiment.name
        log.info(event, items=len(control.catalogue.retrieval), experiment=experiment)
