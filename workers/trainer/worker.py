"""``latentstream worker trainer``: wait until a training is due, train, and promote what is better."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import redis
import structlog
from kafka.errors import KafkaError

from models.errors import ModelError
from schemas.keys import Keys
from schemas.settings import Settings
from workers import connections, metrics
from workers.dataset import DatasetBuilder
from workers.errors import Repairable
from workers.health import Health
from workers.last_training import LastTraining, write_last
from workers.lookup import current_version
from workers.loop import FIRST_BACKOFF_S, MAX_BACKOFF_S
from workers.promotions import PromotionFailed, promote
from workers.refusals import Denied, raise_if_denied
from workers.registry import open_registry
from workers.spill import spill_directory
from workers.trainer.challenge import Challenge, Task, challenge
from workers.trainer.due import Due
from workers.trainer.lease import Lease
from workers.trainer.plan import Plan, PlanFile
from workers.trainer.report import write_report
from workers.training import UNFINISHED, end_offsets, read_topics
from workers.versions import version_prefix

log = structlog.get_logger()

CHECK_S: Final = 1.0
_BY_HAND: Final = "started by hand"


class Interrupted(Exception):  # noqa: N818 - nothing is wrong
    """The training stops here, and goes on later."""


class Trainer:
    """Trains under one prefix. ``beat`` is called whenever it has come a step further."""

    def __init__(
        self, settings: Settings, client: redis.Redis, stop: threading.Event, beat: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._redis = client
        self._keys = Keys(settings.redis.prefix)
        self._registry = open_registry(settings)
        self._stop = stop
        self._beat = beat
        self._unfinished = settings.registry / UNFINISHED
        self._plans = PlanFile(self._unfinished / f"{settings.redis.prefix}.json")
        self._due = Due(settings, client, self._registry)

    def reason(self) -> str | None:
        """Return why a training is due now; None where it is not, or another trainer is at it."""
        if self._redis.exists(self._keys.trainer):
            return None
        current = current_version(self._redis, self._keys)
        plan = self._plans.load()
        if plan is not None and plan.fits(current or "", self._settings):
            return plan.reason
        return self._due.reason(current)

    def train(self, reason: str) -> LastTraining | None:
        """Train once, and return how that ended; None where it was interrupted, or another trainer is at it.

        Raises:
            ConnectionFailed, TrainingFailed, ModelError: what a person must repair.
            FloatingPointError: the loss is not finite.
            OSError: the registry cannot be written to.
        """
        with Lease(self._redis, self._keys) as lease:
            if not lease.take():
                log.info("another_trainer_is_at_work")
                return None
            try:
                return self._train(reason, lease)
            except Interrupted as interruption:
                log.info("training_interrupted", reason=str(interruption))
                return None

    def _train(self, reason: str, lease: Lease) -> LastTraining:
        version = current_version(self._redis, self._keys)
        champion = None if version is None else self._registry.load(version)
        plan = self._plans.load()
        if plan is None or not plan.fits(version or "", self._settings):
            plan = Plan.new(reason, version_prefix(), end_offsets(self._settings), version or "", self._settings)
            self._plans.save(plan)
            self._redis.delete(self._keys.training_due)
        log.info("training", reason=plan.reason, champion=plan.champion)

        def advance(stage: str) -> None:
            self._beat()
            if self._stop.is_set():
                raise Interrupted(f"asked to stop, at {stage!r}")
            if lease.lost:
                raise Interrupted(f"another trainer may be at work, at {stage!r}")

        with spill_directory(self._settings.registry, f"trainer-{self._keys.prefix}") as directory:
            builder = DatasetBuilder(directory)
            read_topics(self._settings, builder, plan.offsets, lambda topic, _: advance(topic))
            task = Task(
                builder.build(plan.offsets),
                builder.unavailable,
                self._settings.model,
                self._settings.trainer,
                plan.version_prefix,
                self._registry,
                self._unfinished,
            )
            made = challenge(task, champion, lambda step: advance(step.stage))
            advance("promotion")
            last = self._conclude(plan, made)
            write_report(task, made, champion, last)
        return last

    def _conclude(self, plan: Plan, made: Challenge) -> LastTraining:
        """Promote the model or not, and note how the training ended."""
        version, promoted, why = made.bundle.version, made.decision.promote, made.decision.why
        self._registry.publish(version)
        if promoted:
            try:
                promote(self._redis, self._keys, version, f"{why}; {plan.reason}", expected=plan.champion)
                # What drifted from the model before may be as this one expects it.
                self._redis.delete(self._keys.training_due)
            except PromotionFailed as error:
                promoted, why = False, str(error)
        last = LastTraining(time.time(), "promoted" if promoted else "refused", version, why, plan.offsets)
        self._note(last)
        if made.judged is not None:
            figures = made.judged.figures
            metrics.LIST_QUALITY.labels("challenger").set(figures.challenger)
            if figures.champion is not None:
                metrics.LIST_QUALITY.labels("champion").set(figures.champion)
        return last

    def failed(self, error: Exception) -> None:
        """Note that a training failed, so that the next one waits for its time."""
        plan = self._plans.load()
        self._note(LastTraining(time.time(), "failed", "", str(error), plan.offsets if plan is not None else {}))

    def _note(self, last: LastTraining) -> None:
        write_last(self._redis, self._keys, last)
        self._plans.remove()
        metrics.TRAININGS.labels(last.outcome).inc()
        log.info("trained", outcome=last.outcome, version=last.version, why=last.why)


def train_once(settings: Settings, stop: threading.Event) -> LastTraining | None:
    """Train now, and return how that ended; None where it was interrupted, or another trainer is at it.

    Raises: see :meth:`Trainer.train`.
    """
    with Health(settings.health) as health:
        client = connections.redis_client(settings.redis)
        health.not_ready = None
        return Trainer(settings, client, stop, health.beat).train(_BY_HAND)


def run_trainer(settings: Settings, stop: threading.Event) -> None:
    """Train whenever it is due, until ``stop`` is set.

    Raises:
        ConnectionFailed, Denied: what a person must repair.
    """
    metrics.begin("trainer")
    with Health(settings.health) as health:
        connections.ensure_topics(settings)
        client = connections.redis_client(settings.redis)
        trainer = Trainer(settings, client, stop, health.beat)
        health.not_ready = None
        log.info("ready")
        backoff = FIRST_BACKOFF_S
        while not stop.is_set():
            health.beat()
            try:
                reason = trainer.reason()
                if reason is not None:
                    _train(trainer, reason)
                backoff = FIRST_BACKOFF_S
            except (redis.RedisError, KafkaError, connections.ConnectionFailed) as error:
                raise_if_denied(error)
                metrics.count_failure(error)
                log.warning("retrying", error=type(error).__name__, reason=str(error), wait_s=backoff)
                stop.wait(backoff)
                backoff = min(2 * backoff, MAX_BACKOFF_S)
            stop.wait(CHECK_S)
    log.info("stopped")


def _train(trainer: Trainer, reason: str) -> None:
    """Train; a failure that the next training may not have does not end the worker."""
    try:
        trainer.train(reason)
    except (connections.ConnectionFailed, Denied):
        raise
    except (Repairable, ModelError, FloatingPointError, OSError) as error:
        log.error("training_failed", error=type(error).__name__, reason=str(error))
        trainer.failed(error)
