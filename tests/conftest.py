"""A real Kafka and a real Redis for the tests that ask for them, and a namespace in them for each test."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from schemas.settings import ENV_PREFIX, Settings

# Where the models of a test session are kept, for all its processes; see `train_world`.
TRAINED_WORLDS: Final = "TRAINED_WORLDS"


def pytest_configure() -> None:
    """Make that directory, in the process that the others are started by."""
    if TRAINED_WORLDS not in os.environ:
        os.environ[TRAINED_WORLDS] = directory = tempfile.mkdtemp(prefix="latentstream-trained-")
        atexit.register(shutil.rmtree, directory, ignore_errors=True)


@pytest.fixture(autouse=True, scope="session")
def _no_settings_of_the_developer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the environment's settings, and the local stack that the developer runs."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
            patch.delenv(name)
        patch.setenv(f"{ENV_PREFIX}HOME", str(tmp_path_factory.getbasetemp() / "no-home"))
        yield


@pytest.fixture(scope="session")
def local_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Start Kafka and Redis once for all tests, and give settings that lead to them."""
    from deploy.local import stack

    home: Path = tmp_path_factory.mktemp("stack")
    try:
        stack.up(Settings(home=home), print)
        yield Settings(home=home)
    finally:
        stack.down(Settings(home=home), print, delete_data=True)


@pytest.fixture
def settings(local_stack: Settings, tmp_path: Path) -> Settings:
    """Settings with topics, consumer groups, keys and a home that no other test has."""
    name = f"t{uuid.uuid4().hex[:12]}"
    sections: dict[str, Any] = {
        "kafka": {
            "bootstrap_servers": local_stack.kafka.bootstrap_servers,
            "items_topic": f"{name}-items",
            "interactions_topic": f"{name}-interactions",
            "dead_letters_topic": f"{name}-dead-letters",
            "anomalies_topic": f"{name}-anomalies",
            "group_prefix": name,
            "partitions": 3,
            # The least that the broker allows: so long a killed worker holds its partitions.
            "session_timeout_ms": 6_000,
        },
        "redis": {"url": local_stack.redis.url, "prefix": name},
    }
    return Settings(home=tmp_path / "home", **sections)


@pytest.fixture
def redis_client(settings: Settings) -> Iterator[redis.Redis]:
    """Connect to the Redis of ``settings``; replies are bytes."""
    with redis.Redis.from_url(settings.redis.url.get_secret_value(), protocol=2) as client:
        yield client
