"""Two batches in work at a time: behind a backlog one is encoded while the one before is stored."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import redis

from models.bundle import Bundle
from models.content import Encoded
from models.registry import Registry
from schemas.events import ItemEvent
from schemas.keys import Keys
from schemas.settings import Settings
from tests.e2e.conftest import Progress, publish, wait_until
from tests.e2e.world import World
from workers import connections
from workers.anomalies import Anomalies
from workers.dead_letters import DeadLetters
from workers.delivery import PositionStore
from workers.encoder import DecodedItems, Encoder
from workers.health import Health
from workers.lookup import find_item
from workers.loop import run


@pytest.fixture
def bundle(trained: tuple[Path, str]) -> Bundle:
    return Registry(trained[0]).load(trained[1])


@pytest.fixture
def small(served: Settings) -> Settings:
    """Settings with batches that make a backlog of a few hundred events."""
    return served.model_copy(update={"events": served.events.model_copy(update={"batch": 20})})


@contextmanager
def encoder_of(settings: Settings, client: redis.Redis, bundle: Bundle) -> Iterator[Encoder]:
    producer = connections.producer(settings)
    parts = DeadLetters(producer, settings), Anomalies(producer, settings)
    encoder = Encoder(settings, client, connections.consumer(settings, "encoder"), *parts, bundle)
    yield encoder
    encoder.close()
    producer.close()


def require_stored(settings: Settings, client: redis.Redis, bundle: Bundle, items: list[ItemEvent]) -> None:
    """Check that each item has the code of its own features."""
    assert bundle.content is not None
    codes = bundle.content.codes(np.array([item.features for item in items], np.float32))
    for item, code in zip(items, codes, strict=True):
        found = find_item(client, Keys(settings.redis.prefix), bundle.version, settings.kafka.partitions, item.item_id)
        assert found is not None
        assert found.record.code == code.tobytes()


def test_a_backlog_is_stored_as_it_was_published(
    small: Settings, redis_client: redis.Redis, progress: Progress, world: World, bundle: Bundle
) -> None:
    publish(small, world.items)
    together: list[bool] = []
    with encoder_of(small, redis_client, bundle) as encoder:
        store = encoder.store

        def watched(work: DecodedItems, encoded: Encoded | None) -> None:
            together.append(encoder._encoding is not None)
            store(work, encoded)

        encoder.store = watched  # type: ignore[method-assign]
        with Health(small.health) as health:
            run(encoder, health, threading.Event(), lambda: progress.done(small.kafka.items_topic))
    require_stored(small, redis_client, bundle, world.items)
    assert True in together, "no two batches were in work at a time"
    assert together[-1] is False, "nothing came after the last one"


def test_what_is_in_work_is_finished_before_a_stop(
    small: Settings, redis_client: redis.Redis, progress: Progress, world: World, bundle: Bundle
) -> None:
    publish(small, world.items)
    stop = threading.Event()
    with encoder_of(small, redis_client, bundle) as encoder:
        # The first event that is polled is the last that is waited for.
        decode = encoder.decode

        def then_stop(batches: list) -> DecodedItems:  # type: ignore[type-arg]
            stop.set()
            return decode(batches)

        encoder.decode = then_stop  # type: ignore[method-assign]
        with Health(small.health) as health:
            run(encoder, health, stop, lambda: False)
        assert encoder._encoding is None
    assert progress.consumed(small.kafka.items_topic) > 0


def test_a_batch_in_work_of_a_partition_that_has_a_new_owner_is_not_stored(
    small: Settings, redis_client: redis.Redis, progress: Progress, world: World, bundle: Bundle
) -> None:
    publish(small, world.items)
    keys = Keys(small.redis.prefix)
    with encoder_of(small, redis_client, bundle) as encoder:
        batches = []

        def polled() -> bool:
            batches.extend(encoder.source.poll(0.1))
            return bool(batches)

        wait_until(polled, "a batch")
        encoder.source.lag.unread = 1
        encoder.step(batches)
        assert encoder._encoding is not None
        for part in batches:
            own = keys.items(bundle.version, part.owned.partition)
            PositionStore(redis_client, keys).claim(own.position, 0)
        encoder.finish()
        assert progress.consumed(small.kafka.items_topic) == 0
        assert not {part.owned.partition for part in batches} & encoder.source.owned.keys()
    with encoder_of(small, redis_client, bundle) as encoder, Health(small.health) as health:
        run(encoder, health, threading.Event(), lambda: progress.done(small.kafka.items_topic))
    require_stored(small, redis_client, bundle, world.items)


def test_after_a_failure_the_batch_in_work_is_read_again(
    small: Settings,
    redis_client: redis.Redis,
    progress: Progress,
    world: World,
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The commit of a batch fails once while the next one is in work, which must not be stored without it."""
    monkeypatch.setattr("workers.loop.FIRST_BACKOFF_S", 0.01)
    publish(small, world.items)
    with encoder_of(small, redis_client, bundle) as encoder:
        commit = encoder.source._store.commit
        failed: list[int] = []

        def failing(*arguments: object) -> None:
            if encoder._encoding is not None and len(failed) < 3:
                failed.append(1)
                raise redis.ConnectionError("down")
            commit(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(encoder.source._store, "commit", failing)
        with Health(small.health) as health:
            run(encoder, health, threading.Event(), lambda: progress.done(small.kafka.items_topic))
    assert len(failed) == 3
    require_stored(small, redis_client, bundle, world.items)
