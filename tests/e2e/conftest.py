"""A trained toy model, and workers that run under it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest
import redis
from kafka import KafkaConsumer, TopicPartition

from models.registry import Registry
from schemas.events import InteractionEvent, ItemEvent, encode
from schemas.keys import Keys
from schemas.records import CodeRecord
from schemas.settings import Settings
from tests.conftest import TRAINED_WORLDS
from tests.e2e.world import World, make_world
from tests.processes import environment
from workers import connections
from workers.lookup import current_version, find_item

DEADLINE_S = 60.0


def wait_until(condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait until ``condition`` holds, and fail with ``what`` when it does not in time."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {deadline_s:.0f} s: {what}")
        time.sleep(0.02)


def publish(settings: Settings, events: Sequence[ItemEvent | InteractionEvent]) -> None:
    """Publish ``events`` and wait for the acknowledgement of each."""
    producer = connections.producer(settings, linger_ms=5)
    futures = []
    for event in events:
        if isinstance(event, ItemEvent):
            topic, key = settings.kafka.items_topic, event.item_id
        else:
            topic, key = settings.kafka.interactions_topic, event.user_id
        futures.append(producer.send(topic, key=key.encode(), value=encode(event)))
    for future in futures:
        future.get(timeout=30)
    producer.close()


def marked(client: redis.Redis, settings: Settings, ids: Iterable[str]) -> dict[str, CodeRecord]:
    """Return the records of those of ``ids`` that are marked as anomalies in Redis."""
    keys = Keys(settings.redis.prefix)
    version = current_version(client, keys) or ""
    found = {name: find_item(client, keys, version, settings.kafka.partitions, name) for name in ids}
    return {name: item.record for name, item in found.items() if item is not None and item.record.anomalous}


class Progress:
    """Where the workers stand, by the positions in Redis and the ends of the topics."""

    def __init__(self, settings: Settings, client: redis.Redis) -> None:
        self._settings = settings
        self._redis = client
        self._keys = Keys(settings.redis.prefix)
        self._consumer: KafkaConsumer = connections.consumer(settings, None)

    def ends(self, topic: str) -> dict[int, int]:
        """Return the end offset of each partition of ``topic``."""
        found = self._consumer.partitions_for_topic(topic) or {0}
        ends = self._consumer.end_offsets([TopicPartition(topic, partition) for partition in found])
        return {partition.partition: offset for partition, offset in ends.items()}

    def position(self, topic: str, partition: int) -> int:
        """Return the stored position of a partition."""
        version = current_version(self._redis, self._keys) or ""
        items = topic == self._settings.kafka.items_topic
        keys = self._keys.items(version, partition) if items else self._keys.users(partition)
        return int(cast(bytes | None, self._redis.hget(keys.position, "next")) or 0)

    def consumed(self, topic: str) -> int:
        """Return how many records of ``topic`` are behind the positions."""
        return sum(self.position(topic, partition) for partition in self.ends(topic))

    def done(self, topic: str) -> bool:
        """Return whether everything published on ``topic`` is processed."""
        return all(self.position(topic, partition) >= end for partition, end in self.ends(topic).items())

    def wait(self) -> None:
        """Wait until both topics are processed."""
        kafka = self._settings.kafka
        wait_until(lambda: self.done(kafka.items_topic), "all items processed")
        wait_until(lambda: self.done(kafka.interactions_topic), "all interactions processed")

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close(timeout_ms=1000)


@pytest.fixture(scope="session")
def world() -> World:
    return make_world()


def train_world(world: World, directory: Path, seed: int = 0) -> str:
    """Train on the world from files, by the command line, into ``directory/models``; return the version.

    It is done once in a test session, and copied: three processes want the same models.
    """
    events = {"items": _lines(world.items), "interactions": _lines(world.interactions)}
    kept = os.environ.get(TRAINED_WORLDS)
    if kept is None:
        return _train(events, directory, seed)
    digest = hashlib.sha256(repr((seed, events)).encode()).hexdigest()[:16]
    shared = Path(kept) / digest
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        version = next(iter(Registry(shared / "models").versions()), None) or _train(events, shared, seed)
    # Two tests may want it in one registry.
    shutil.copytree(shared / "models" / version, directory / "models" / version, dirs_exist_ok=True)
    return version


def _lines(events: Sequence[ItemEvent | InteractionEvent]) -> bytes:
    return b"".join(encode(event) + b"\n" for event in events)


def _train(events: dict[str, bytes], directory: Path, seed: int) -> str:
    registry = Registry(directory / "models")
    before = set(registry.versions())
    model = {"registry": registry.root, "content": {"latent_dim": 4}, "user_dim": 16, "seed": seed}
    command = [sys.executable, "-m", "workers", "train", "--no-promote"]
    for name, lines in events.items():
        (directory / f"{name}.jsonl").write_bytes(lines)
        command += [f"--{name}", str(directory / f"{name}.jsonl")]
    environ = environment(Settings(home=directory, model=model))
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    (version,) = set(registry.versions()) - before
    return version


@pytest.fixture(scope="session")
def trained(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the registry of a model that was trained on the world, and its version."""
    directory = tmp_path_factory.mktemp("trained")
    version = train_world(world, directory)
    return directory / "models", version


@pytest.fixture
def served(settings: Settings, redis_client: redis.Redis, trained: tuple[Path, str]) -> Settings:
    """Settings under which the trained model is the current one, with the topics made."""
    registry, version = trained
    changed = settings.model_copy(update={"model": settings.model.model_copy(update={"registry": registry})})
    connections.ensure_topics(changed)
    redis_client.hset(Keys(changed.redis.prefix).model, "version", version)
    return changed


@pytest.fixture
def progress(served: Settings, redis_client: redis.Redis) -> Iterator[Progress]:
    watched = Progress(served, redis_client)
    yield watched
    watched.close()
