"""The second encoder of an experiment: the items' codes under the challenger, beside those of the current model."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import redis
import structlog

from models.bundle import Bundle
from schemas.experiments import Experiment
from schemas.settings import Settings
from workers import connections
from workers.background import Background
from workers.encoder import Encoder
from workers.loop import run

log = structlog.get_logger()

RETRY_S: Final = 30.0


class Challenger:
    """Starts and stops the second encoder. Whatever becomes of it, the first goes on."""

    def __init__(self, settings: Settings, client: redis.Redis, load: Callable[[Experiment], Bundle]) -> None:
        self._settings = settings
        self._redis = client
        self._load = load
        self._running: _Encoding | None = None
        self._retry_at = 0.0

    def follow(self, experiment: Experiment | None) -> None:
        """See to it that the items are encoded under the challenger, or under no second model."""
        running = self._running
        if running is not None and (experiment is None or experiment.challenger != running.version):
            self.close()
        elif running is not None:
            self._check(running)
        if self._running is None and experiment is not None and time.monotonic() >= self._retry_at:
            self._running = _Encoding(self._settings, self._redis, experiment, self._load)
            self._running.start()
            log.info("challenger_started", challenger=experiment.challenger)

    def close(self) -> None:
        """Stop the second encoder, if there is one."""
        if self._running is not None:
            self._running.close()
            log.info("challenger_stopped", challenger=self._running.version)
            self._running = None

    def _check(self, running: _Encoding) -> None:
        try:
            running.check()
        except Exception as error:  # noqa: BLE001 - an experiment must not take the service down
            log.error(
                "challenger_failed",
                challenger=running.version,
                error=type(error).__name__,
                reason=str(error),
                retry_s=RETRY_S,
            )
            self._running = None
            self._retry_at = time.monotonic() + RETRY_S


class _Encoding(Background):
    def __init__(
        self,
        settings: Settings,
        client: redis.Redis,
        experiment: Experiment,
        load: Callable[[Experiment], Bundle],
    ) -> None:
        super().__init__("challenger")
        self._settings = settings
        self._redis = client
        self._experiment = experiment
        self._load = load

    @property
    def version(self) -> str:
        """The model version."""
        return self._experiment.challenger

    def loop(self) -> None:
        structlog.contextvars.bind_contextvars(worker="challenger", model=self.version)
        # Here and not in `follow`: a bundle may have gone since it was looked at, and loading takes seconds.
        bundle = self._load(self._experiment)
        # A group of its own: what it has read says nothing of the current model.
        consumer = connections.consumer(self._settings, f"encoder-{self.version}")
        encoder = Encoder(self._settings, self._redis, consumer, None, None, bundle)
        try:
            run(encoder, self, self.stopping, lambda: False)
        finally:
            encoder.close()

    def beat(self) -> None:
        """Nothing watches this loop but :meth:`check`."""
