"""The dashboard and the alerts over a running system, evaluated by a real Prometheus that scrapes it."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import redis
from prometheus_client import generate_latest

from deploy.local import stack
from schemas.events import InteractionEvent
from schemas.keys import Keys
from schemas.settings import DriftSettings, Settings
from tests.e2e.conftest import Progress, publish, wait_until
from tests.e2e.world import ITEMS, USERS, World, wild
from tests.fork_server import shared_fork_server
from tests.processes import WorkerProcess, worker_process
from tests.prometheus import ALERTS, DASHBOARD, Prometheus, alert_names, prometheus
from workers import connections, metrics
from workers.delivery import PositionStore

# Thresholds that are scaled to the seconds of a test; all others are as they are installed.
SCALED: Final = {
    "LatentstreamLag": ("> 120", "> 2"),
    "LatentstreamRefusedWrites": ("> 5", "> 0"),
    "LatentstreamBackendFailing": ("> 0.01", "> 0"),
    "LatentstreamKafkaSilent": ("> 120", "> 3"),
    "LatentstreamStaleIndex": ("> 60", "> 3"),
    "LatentstreamWorkerRestarts": ("> 3", "> 0"),
}
# Of the installed rules and dashboard, what a mistake in one of them looks like.
BROKEN_ALERT: Final = ("LatentstreamDeadLetters", "increase(latentstream_dead_letters_total[", 'topic="item"')
BROKEN_PANEL: Final = ("latentstream_lag_seconds", "latentstream_lag_second")
PAUSE_MS: Final = 7_000


def test_every_panel_has_data_and_every_alert_fires_by_the_fault_it_is_for(
    watched: Settings,
    local_stack: Settings,
    redis_client: redis.Redis,
    progress: Progress,
    world: World,
    tmp_path: Path,
) -> None:
    keys, version = Keys(watched.redis.prefix), current(redis_client, watched)
    rules = ALERTS.read_text()
    with prometheus(tmp_path / "prometheus", in_seconds(rules) + broken(in_seconds(rules))) as server:
        fired: set[str] = set()

        def fires(*names: str, meanwhile: Callable[[], object] = lambda: None) -> None:
            # From now on: a scrape that a busy machine missed may have made one fire before.
            seen: set[str] = set()

            def all_seen() -> bool:
                seen.update(server.firing())
                fired.update(seen)
                if missing := set(names) - seen:
                    meanwhile()
                return not missing

            wait_until(all_seen, f"{names} fire")

        redis_client.hdel(keys.model, "version")
        with (
            worker_process(watched, "encoder", wait_ready=False) as encoder,
            worker_process(watched, "recommender", wait_ready=False) as recommender,
            hopeless(watched, "trainer", tmp_path) as trainer,
            hopeless(watched, "encoder", tmp_path) as large,
        ):
            server.scrape([encoder.port, recommender.port])
            fires("LatentstreamWorkerNotReady")

            redis_client.hset(keys.model, "version", version)
            encoder.wait_ready()
            recommender.wait_ready()
            publish(watched, world.items)
            publish(watched, world.interactions)
            progress.wait()
            wait_until(lambda: not server.firing(), "a healthy system is silent")

            server.scrape([encoder.port, recommender.port, trainer.port, large.port])
            declared = re.findall("^# HELP .*$", generate_latest(metrics.REGISTRY).decode(), re.MULTILINE)
            assert set(declared) <= set(re.findall("^# HELP .*$", recommender.get("/metrics")[1], re.MULTILINE))
            use = Use(watched, redis_client)
            panels = json.loads(DASHBOARD.read_text())

            def all_have_data() -> bool:
                use()
                return not without_data(server, panels)

            wait_until(all_have_data, "data in all panels")
            changed = json.loads(DASHBOARD.read_text().replace(*BROKEN_PANEL))
            assert without_data(server, changed) == {"Time behind"}

            fires("LatentstreamWorkerMemory")
            redis_client.set(Keys(f"{watched.redis.prefix}-none").training_due, "a test")
            fires("LatentstreamTrainingFailed")

            publish_bad(watched)
            publish(watched, [wild(f"wild-{n}", np.random.default_rng(n)) for n in range(ITEMS)])
            fires("LatentstreamDeadLetters", "LatentstreamDrift")

            redis_client.client_pause(PAUSE_MS, all=False)
            publish(watched, use.interactions())
            wait_until(lambda: server.query("latentstream_lag_seconds > 0.5"), "a batch hangs")
            redis_client.client_pause(PAUSE_MS, all=True)
            with kafka_stopped(local_stack):
                fires(
                    "LatentstreamLag",
                    "LatentstreamBackendFailing",
                    "LatentstreamKafkaSilent",
                    "LatentstreamStaleIndex",
                )

            def two_owners() -> None:
                claim_all(redis_client, keys, watched)
                use()

            fires("LatentstreamRefusedWrites", meanwhile=two_owners)

            with full(redis_client):
                redis_client.hset(keys.model, "version", aged(watched, version))
                fires("LatentstreamRedisMemory", "LatentstreamStaleModel")

            recommender.kill()
            fires("LatentstreamWorkerDown")
            with worker_process(at_port(watched, recommender.port), "recommender", wait_ready=False):
                fires("LatentstreamWorkerRestarts")
        assert alert_names(rules) - fired == set()
        assert alert_names(broken(rules)) - fired == {"Broken"}


@pytest.fixture
def watched(served: Settings, tmp_path: Path) -> Settings:
    """A registry that more can be put into, and what is noticed soon."""
    shutil.copytree(served.registry, tmp_path / "models")
    return served.model_copy(
        update={
            "model": served.model.model_copy(update={"registry": tmp_path / "models"}),
            "redis": served.redis.model_copy(update={"timeout_s": 1.0}),
            "drift": DriftSettings(events=200),
        }
    )


def in_seconds(rules: str) -> str:
    """Return the rules with thresholds as SCALED has them, and alerts that fire after a second."""
    for name, change in SCALED.items():
        head, name_of_it, rest = rules.partition(f"- alert: {name}\n")
        assert change[0] in rest.partition("- alert: ")[0], f"{name} is not compared with {change[0]}"
        rules = head + name_of_it + rest.replace(*change, 1)
    return re.sub(r"^( +for:) .*$", r"\1 1s", rules, flags=re.MULTILINE)


def broken(rules: str) -> str:
    """Return one alert of the rules as a group of its own, named BrokenX, with a wrong label."""
    name, expression, label = BROKEN_ALERT
    (alert,) = re.findall(rf"^      - alert: {name}$.*?(?=^$)", rules, re.MULTILINE | re.DOTALL)
    changed = alert.replace(expression, expression.replace("[", f"{{{label}}}[")).replace(name, "Broken")
    assert label in changed
    return f"  - name: broken\n    rules:\n{changed}\n"


def without_data(server: Prometheus, dashboard: dict[str, Any]) -> set[str]:
    """Return the titles of the panels of which a query has no value, or names a metric that nothing has."""
    known = server.names()
    missing = set()
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "10s").replace("$namespace", ".*")
            named = set(re.findall(r"\b(?:latentstream|process)_\w+", expression))
            if named - known or not any(map(math.isfinite, server.query(expression))):
                missing.add(panel["title"])
    return missing


class Use:
    """What people do with a system: each call is a little of it."""

    def __init__(self, settings: Settings, client: redis.Redis) -> None:
        self._settings = settings
        self._redis = client
        self._random = np.random.default_rng(5)
        self._calls = 0

    def __call__(self) -> None:
        self._calls += 1
        publish(self._settings, self.interactions())
        request = json.dumps({"type": "user", "id": f"q{self._calls}", "user_id": "1", "k": 3})
        self._redis.xadd(Keys(self._settings.redis.prefix).queries, {"request": request})

    def interactions(self) -> list[InteractionEvent]:
        """Return some that are made now, mostly with items that are new to their users."""
        pairs = self._random.integers(1, (USERS, ITEMS), (20, 2)).tolist()
        return [InteractionEvent(user_id=str(user), item_id=str(item)) for user, item in pairs]


def current(client: redis.Redis, settings: Settings) -> str:
    version = client.hget(Keys(settings.redis.prefix).model, "version")
    assert isinstance(version, bytes)
    return version.decode()


@contextmanager
def hopeless(settings: Settings, role: str, directory: Path) -> Iterator[WorkerProcess]:
    """Run a worker whose topics are empty, which has no model, and which takes more memory than its container has."""
    (directory / "limit").write_text("100000000")
    kafka = settings.kafka.model_copy(
        update={
            "items_topic": f"{settings.kafka.items_topic}-none",
            "interactions_topic": f"{settings.kafka.interactions_topic}-none",
        }
    )
    redis_settings = settings.redis.model_copy(update={"prefix": f"{settings.redis.prefix}-none"})
    nothing = settings.model_copy(update={"kafka": kafka, "redis": redis_settings})
    prepare = (f"{__name__}:limit_memory", str(directory / "limit"))
    worker = WorkerProcess(nothing, role, shared_fork_server(), prepare)
    try:
        yield worker
    finally:
        worker.kill()


def at_port(settings: Settings, port: int) -> Settings:
    """Return settings of a worker that listens there."""
    return settings.model_copy(update={"health": settings.health.model_copy(update={"port": port})})


def limit_memory(limit: str) -> None:
    """Let this process find the limit of its container in the file ``limit``."""
    from workers import memory

    memory.LIMITS = (Path(limit),)  # type: ignore[misc]


def publish_bad(settings: Settings) -> None:
    producer = connections.producer(settings)
    producer.send(settings.kafka.items_topic, key=b"1", value=b"{").get(timeout=30)
    producer.close()


def claim_all(client: redis.Redis, keys: Keys, settings: Settings) -> None:
    """Take all users away from their owner, as a worker does that Kafka gives them to."""
    store = PositionStore(client, keys)
    for partition in range(settings.kafka.partitions):
        store.claim(keys.users(partition).position, 0)


@contextmanager
def kafka_stopped(local_stack: Settings) -> Iterator[None]:
    """Let the broker stand still: it takes connections, and answers nothing."""
    (pid,) = [service.pid for service in stack.status(local_stack) if service.name == "kafka"]
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def full(client: Any) -> Iterator[None]:
    """Leave Redis little more memory than it takes."""
    client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 1.15))
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)


def aged(settings: Settings, version: str) -> str:
    """Put a copy of a model that was trained long ago into the registry; return its version."""
    old = f"20200101T000000-{version.rpartition('-')[2]}"
    shutil.copytree(settings.registry / version, settings.registry / old)
    manifest = settings.registry / old / "manifest.json"
    manifest.write_text(manifest.read_text().replace(version, old))
    return old
