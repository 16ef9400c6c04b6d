"""The main loop of every worker: poll, process, repeat; after a failure, claim again and go on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Protocol

import redis
import structlog
from kafka.errors import KafkaError

from workers import metrics
from workers.refusals import raise_if_denied
from workers.source import PartitionRecords, Source

log = structlog.get_logger()

POLL_TIMEOUT_S: Final = 0.1
FIRST_BACKOFF_S: Final = 0.1
MAX_BACKOFF_S: Final = 5.0


class Session(Protocol):
    """What one worker does under one model version."""

    source: Source

    def step(self, batches: list[PartitionRecords]) -> None:
        """Process and commit what was polled."""

    def between(self) -> bool:
        """Do a small piece of other work; return whether more of it waits."""

    def finish(self) -> None:
        """Finish what was polled and is still in work."""

    def rewind(self) -> None:
        """Forget what was polled and is not committed: it is read anew."""


class Watch(Protocol):
    """Notices whether a loop makes progress; see :class:`workers.health.Health`."""

    def beat(self) -> None:
        """Note that the loop has come round."""


def run(session: Session, health: Watch, stop: threading.Event, superseded: Callable[[], bool]) -> None:
    """Run ``session`` until ``stop`` is set or ``superseded`` says that a newer model takes over.

    A stop is only seen between batches, so what was polled is finished first (it drains).

    Raises:
        Denied: Kafka or Redis does not let this user do something, which does not pass by itself.
    """
    backoff = FIRST_BACKOFF_S
    busy = False
    while not stop.is_set():
        health.beat()
        try:
            batches = session.source.poll(0 if busy else POLL_TIMEOUT_S)
            if batches:
                session.step(batches)
            busy = session.between()
            if superseded():
                break
            backoff = FIRST_BACKOFF_S
        except (redis.RedisError, KafkaError) as error:
            raise_if_denied(error)
            # Nothing of the batch is committed: it is read again from the position in Redis.
            metrics.count_failure(error)
            log.warning("retrying", error=type(error).__name__, reason=str(error), wait_s=backoff)
            session.rewind()
            stop.wait(backoff)
            backoff = min(2 * backoff, MAX_BACKOFF_S)
    try:
        session.finish()
    except (redis.RedisError, KafkaError) as error:
        log.warning("not_finished", error=type(error).__name__, reason=str(error))
