"""What a worker makes of a pointer in a real Redis, while the registry is at a URL that fails for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import redis
from fsspec.implementations.memory import MemoryFileSystem
from structlog.testing import capture_logs

from models.bundle import ModelParts, save_bundle
from models.remote_registry import RemoteRegistry
from schemas.keys import Keys
from schemas.settings import HealthSettings, Settings
from workers import model_watch
from workers.bench.load import random_bundle
from workers.health import Health
from workers.model_watch import Models

URL = "memory://bucket/models"


@pytest.fixture
def version(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> str:
    """A version that somebody on another machine has published."""
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    monkeypatch.setattr(model_watch, "REFUSED_S", 0.0)
    monkeypatch.setattr(model_watch, "MODEL_CHECK_S", 0.01)
    bundle = random_bundle("content")
    parts = ModelParts(bundle.content, bundle.space, bundle.user_codec)
    there = RemoteRegistry(URL, settings.home / "there")
    saved = save_bundle(there.root, parts, version_prefix="new", metrics={}, settings={}, offsets={})
    there.publish(saved.name)
    return saved.name


@pytest.fixture
def models(settings: Settings, redis_client: redis.Redis, version: str) -> Models:
    """The pointer leads to that version, and nothing of it is here."""
    keys = Keys(settings.redis.prefix)
    redis_client.hset(keys.model, "version", version)
    return Models(redis_client, keys, RemoteRegistry(URL, settings.home / "here"))


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_worker_goes_on_while_the_store_fails_and_takes_the_model_over_when_it_is_well(
    models: Models, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = random_bundle("content")

    def unplugged(*_: object, **__: object) -> None:
        raise ConnectionError("unplugged")

    with monkeypatch.context() as broken, capture_logs() as said:
        broken.setattr(MemoryFileSystem, "ls", unplugged)
        wait_until(lambda: models.newer(running) is not None or len(said) > 2)
    assert {entry["event"] for entry in said} == {"model_refused"}
    assert "unplugged" in said[0]["reason"]
    wait_until(lambda: models.newer(running) == version)


def test_a_starting_worker_copies_the_model(models: Models, settings: Settings, version: str) -> None:
    with Health(HealthSettings()) as health:
        bundle = models.wait(health, threading.Event(), settings.kafka.items_topic)
    assert bundle is not None
    assert bundle.version == version
