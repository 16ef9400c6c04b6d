"""Events that were refused under an old limit and are replayed under a new one, among newer events of the same ids."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import redis

from schemas.events import ItemEvent
from schemas.keys import Keys
from schemas.settings import Settings
from tests.e2e.conftest import Progress, publish, wait_until
from tests.e2e.world import World
from tests.processes import environment, worker_process
from workers import connections
from workers.lookup import current_version, find_histories, find_item

# Beyond the old limit, within the new one.
PADDING = "x" * 2000


def _with_max_bytes(settings: Settings, max_bytes: int) -> Settings:
    return settings.model_copy(update={"events": settings.events.model_copy(update={"max_bytes": max_bytes})})


@contextmanager
def _workers(settings: Settings) -> Iterator[None]:
    """Run both workers; they start at the same time, and what is published waits for them."""
    with (
        worker_process(settings, "encoder", wait_ready=False) as encoder,
        worker_process(settings, "recommender", wait_ready=False) as recommender,
    ):
        yield
        encoder.wait_ready()
        recommender.wait_ready()


def _replay(settings: Settings) -> str:
    command = [sys.executable, "-m", "workers", "dead-letters", "replay"]
    done = subprocess.run(
        command,
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_replay_after_a_fix_ends_where_it_would_be_without_the_fault(
    served: Settings, redis_client: redis.Redis, progress: Progress, world: World
) -> None:
    old, new = _with_max_bytes(served, 1024), _with_max_bytes(served, 512 * 1024)
    features = world.items[0].features

    def item(name: str, state: str, padding: str = "") -> ItemEvent:
        return ItemEvent(item_id=name, features=features, attributes={"state": state, "padding": padding})

    items = [
        item("overtaken", "old", PADDING),
        item("overtaken", "new"),
        item("alone", "only", PADDING),
        item("deleted", "old", PADDING),
        item("last refused", "old"),
        item("last refused", "new", PADDING),
        item("both refused", "old", PADDING),
        item("both refused", "new", PADDING),
    ]
    # What no worker reads makes them large.
    touches: list[dict[str, Any]] = [
        {"user_id": "u", "item_id": "taken back", "padding": PADDING},
        {"user_id": "u", "item_id": "taken back", "weight": 0},
        {"user_id": "u", "item_id": "refused", "weight": 2.0, "padding": PADDING},
        {"user_id": "u", "item_id": "kept"},
        {"user_id": "u", "item_id": "weighed anew", "weight": 2.0, "padding": PADDING},
        {"user_id": "u", "item_id": "weighed anew", "weight": 3.0},
    ]
    written_ms = {}
    with _workers(old):
        publish(old, items)
        producer = connections.producer(old)
        producer.send(old.kafka.items_topic, key=b"deleted", value=None).get(timeout=30)
        for touch in touches:
            sent = producer.send(old.kafka.interactions_topic, key=b"u", value=msgspec.json.encode(touch)).get(
                timeout=30
            )
            written_ms[touch["item_id"]] = sent.timestamp
        producer.close()
        progress.wait()
    with _workers(new):
        said = _replay(new)
        assert "5 events published again; passed over: 4 overtaken by newer events" in said
        progress.wait()
        assert "0 events published again" in _replay(new)
        keys, version = Keys(served.redis.prefix), current_version(redis_client, Keys(served.redis.prefix))
        assert version is not None
        states = {}
        for name in ("overtaken", "alone", "deleted", "last refused", "both refused"):
            stored = find_item(redis_client, keys, version, served.kafka.partitions, name)
            states[name] = None if stored is None else stored.attributes["state"]
        assert states == {
            "overtaken": "new",
            "alone": "only",
            "deleted": None,
            "last refused": "new",
            "both refused": "new",
        }
        (history,) = find_histories(redis_client, keys, served.kafka.partitions, ["u"])
        # What is published again counts by its own time, and comes last.
        assert [(touch.item_id, touch.weight, touch.timestamp) for touch in history] == [
            ("kept", 1.0, written_ms["kept"] / 1000),
            ("weighed anew", 3.0, written_ms["weighed anew"] / 1000),
            ("refused", 2.0, written_ms["refused"] / 1000),
        ]
        wait_until(lambda: redis_client.exists(keys.recommendations("u")), "a list")
