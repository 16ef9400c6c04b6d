"""Starting a worker: wait for a model, and run a session that begins with it."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from types import FrameType
from typing import Final, Literal

import structlog

from schemas.keys import Keys
from schemas.settings import Settings
from workers import connections, metrics
from workers.encoder_session import EncoderSession
from workers.health import Health
from workers.model_watch import Models
from workers.recommender_session import RecommenderSession
from workers.registry import open_registry
from workers.tracing import tracing

log = structlog.get_logger()

Role = Literal["encoder", "recommender"]
# Python's 5 ms would be what each step of the main loop waits for, while queries or the follower have much to do.
THREAD_SWITCH_S: Final = 0.0005


def run_worker(role: Role, settings: Settings) -> None:
    """Run a worker until SIGTERM or SIGINT, across model versions.

    Raises:
        ConnectionFailed, Denied, TracingUnavailable, BundleError, TooManyDeadLetters, PositionOutOfRange: what a
            person must repair.
    """
    sys.setswitchinterval(THREAD_SWITCH_S)
    # What the imports have made stays: some 400,000 objects, which each full collection would look at, for .3 s in
    # which no other thread runs.
    gc.freeze()
    stop = threading.Event()
    stop_on_signals(stop)
    kafka = settings.kafka
    metrics.begin(role, kafka.items_topic if role == "encoder" else kafka.interactions_topic)
    with tracing(settings, role), Health(settings.health) as health:
        connections.ensure_topics(settings)
        client = connections.redis_client(settings.redis)
        models = Models(client, Keys(settings.redis.prefix), open_registry(settings))
        structlog.contextvars.bind_contextvars(worker=role)
        bundle = models.wait(health, stop, settings.kafka.items_topic)
        if bundle is not None:
            session = EncoderSession if role == "encoder" else RecommenderSession
            session(settings, client, bundle, models).run(health, stop)
    log.info("stopped")


def stop_on_signals(stop: threading.Event) -> None:
    """Set ``stop`` on SIGTERM and SIGINT."""

    def handle(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
