"""Encoders beside the first: the items' codes under other versions that are in use, or will be.

They are of a challenger, of a model that was promoted and has not caught up yet, or of one that was replaced and still
serves somebody. Each follows the first encoder of this process in the partitions that this one has, on a thread of its
own and for a share of the time, so that fresh events do not wait for old ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Final

import redis
import structlog

from models.bundle import Bundle
from schemas.settings import Settings
from workers import connections
from workers.anomalies import Anomalies
from workers.background import Background
from workers.encoder import Encoder
from workers.limited_source import Limits
from workers.loop import run
from workers.source import Source

log = structlog.get_logger()

RETRY_S: Final = 30.0


class SecondEncoders:
    """Starts and stops them. Whatever becomes of one, the first encoder and the others go on.

    Args:
        load: returns the model of a version.
        first: the source of the first encoder.
    """

    def __init__(
        self,
        settings: Settings,
        client: redis.Redis,
        load: Callable[[str], Bundle],
        first: Source,
        anomalies: Anomalies,
    ) -> None:
        self._settings = settings
        self._redis = client
        self._load = load
        self._first = first
        self._anomalies = anomalies
        self._running: dict[str, _Encoding] = {}
        # Version -> when it is tried again.
        self._retry_at: dict[str, float] = {}

    def follow(self, versions: Collection[str]) -> None:
        """See to it that the items are encoded under ``versions``."""
        for version in set(self._running) - set(versions):
            self.stop(version)
        for encoding in list(self._running.values()):
            self._check(encoding)
        for version in versions:
            if version not in self._running and time.monotonic() >= self._retry_at.get(version, 0.0):
                self._running[version] = _Encoding(self, version)
                self._running[version].start()
                log.info("second_encoder_started", version=version)

    def bundle(self, version: str) -> Bundle | None:
        """Return the model of a version that is encoded under, None where it is not (yet)."""
        return self._running[version].bundle if version in self._running else None

    def stop(self, version: str) -> None:
        """Stop to encode under a version."""
        self._running.pop(version).close()
        log.info("second_encoder_stopped", version=version)

    def close(self) -> None:
        """Stop them all."""
        for version in list(self._running):
            self.stop(version)

    def _check(self, encoding: _Encoding) -> None:
        try:
            encoding.check()
        except Exception as error:  # noqa: BLE001 - it must not take the service down
            log.error(
                "second_encoder_failed",
                version=encoding.version,
                error=type(error).__name__,
                reason=str(error),
                retry_s=RETRY_S,
            )
            del self._running[encoding.version]
            self._retry_at[encoding.version] = time.monotonic() + RETRY_S

    def _offsets(self) -> Mapping[int, int]:
        """Return how far the first encoder has come in its partitions."""
        return {partition: owned.position.next for partition, owned in list(self._first.owned.items())}


class _Encoding(Background):
    def __init__(self, owner: SecondEncoders, version: str) -> None:
        super().__init__(f"encoder-{version}")
        self._owner = owner
        self.version = version
        self.bundle: Bundle | None = None

    def loop(self) -> None:
        owner = self._owner
        structlog.contextvars.bind_contextvars(worker="second encoder", model=self.version)
        # Here and not in `follow`: loading takes seconds.
        bundle = owner._load(self.version)
        self.bundle = bundle
        limits = Limits(owner._offsets, owner._settings.swap.share, self.stopping)
        # Of what was polled and is no longer there nothing else is read instead.
        consumer = connections.consumer(owner._settings, None, auto_offset_reset="none")
        encoder = Encoder(owner._settings, owner._redis, consumer, None, owner._anomalies, bundle, limits=limits)
        try:
            run(encoder, self, self.stopping, lambda: False)
        finally:
            encoder.close()

    def beat(self) -> None:
        """Nothing watches this loop but :meth:`check`."""
