"""A running system with an explorer on it, once for all tests here, and a browser."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import pytest
import redis
from kafka import KafkaProducer

from schemas.events import InteractionEvent, ItemEvent
from schemas.keys import Keys
from schemas.settings import ExplorerSettings, Settings
from tests.e2e.conftest import Progress, publish, trained, world
from tests.e2e.world import World
from tests.explorer.browser import Page, browser, explorer
from tests.processes import worker_process
from workers import connections

# The model of the small world is trained once, and copied.
__all__ = ["trained", "world"]

# An id and a title as somebody would choose them who wants to see how far they get.
HOSTILE: Final = "<img src=x onerror=alert(1)>/../?id=1&x#\u202e\"'"
HOSTILE_TITLE: Final = "<script>alert(2)</script>"
ODD: Final = "odd"
BAD_VALUE: Final = b'{"item_id": "bad", "features": "<script>alert(3)</script>"}'


class Running(NamedTuple):
    """A system whose workers are done with the world, and where its explorer is."""

    settings: Settings
    redis: redis.Redis
    base: str
    version: str
    world: World

    def publish(self, event: InteractionEvent) -> None:
        """Publish one interaction."""
        publish(self.settings, [event])


@pytest.fixture(scope="session")
def running(
    local_stack: Settings, world: World, trained: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    registry, version = trained
    name = f"x{uuid.uuid4().hex[:12]}"
    settings = Settings.model_validate(
        {
            "home": tmp_path_factory.mktemp("explorer"),
            "model": {"registry": registry},
            "kafka": {
                "bootstrap_servers": local_stack.kafka.bootstrap_servers,
                "items_topic": f"{name}-items",
                "interactions_topic": f"{name}-interactions",
                "dead_letters_topic": f"{name}-dead-letters",
                "anomalies_topic": f"{name}-anomalies",
                "group_prefix": name,
                "partitions": 2,
                "session_timeout_ms": 6_000,
            },
            "redis": {"url": local_stack.redis.url, "prefix": name},
            "recommend": {"profiles": {"short": {"k": 5}}},
        }
    )
    odd = ItemEvent(item_id=ODD, features=[30.0, -30, 30, -30, 30, -30, 30])
    hostile = ItemEvent(item_id=HOSTILE, features=world.items[0].features, attributes={"title": HOSTILE_TITLE})
    with ExitStack() as stack:
        client = stack.enter_context(redis.Redis.from_url(settings.redis.url.get_secret_value(), protocol=2))
        connections.ensure_topics(settings)
        client.hset(Keys(name).model, "version", version)
        stack.enter_context(worker_process(settings, "encoder"))
        recommender = stack.enter_context(worker_process(settings, "recommender"))
        publish(settings, [*world.items, odd, hostile, *world.interactions])
        producer: KafkaProducer = connections.producer(settings)
        producer.send(settings.kafka.items_topic, key=b"bad", value=BAD_VALUE).get(30)
        producer.close()
        progress = Progress(settings, client)
        progress.wait()
        progress.close()
        workers = ExplorerSettings(workers=[f"127.0.0.1:{recommender.port}", "127.0.0.1:1"])
        base = stack.enter_context(explorer(settings.model_copy(update={"explorer": workers})))
        yield Running(settings, client, base, version, world)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Page]:
    with browser() as page:
        yield page


@pytest.fixture
def page(chromium: Page, running: Running) -> Iterator[Page]:
    """Give a browser at the running system's explorer; no test leaves an error on the console."""
    chromium.base = running.base
    chromium.complaints()
    yield chromium
    assert chromium.complaints() == []
    chromium.get("about:blank")
