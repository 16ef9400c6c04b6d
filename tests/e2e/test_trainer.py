"""The trainer worker against a real Kafka and Redis: what it promotes, what it refuses, and how it stops."""

from __future__ import annotations

import base64
import html
import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

from models.registry import Registry
from schemas.events import InteractionEvent
from schemas.keys import Keys
from schemas.model_settings import ContentSettings
from schemas.settings import Settings, TrainerSettings
from tests.e2e.conftest import publish, wait_until
from tests.e2e.world import World
from tests.processes import REPOSITORY, environment, worker_process
from workers import connections
from workers.lookup import current_version
from workers.promotions import promotions

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Small models, and a tenth of the interactions held out."""
    model = settings.model.model_copy(
        update={
            "content": ContentSettings(latent_dim=4, hidden=[16], epochs=10),
            "user_dim": 16,
            "interaction_hidden": 32,
            "interaction_epochs": 40,
        }
    )
    return settings.model_copy(update={"model": model, "trainer": TrainerSettings(held_out_share=0.2)})


def train(settings: Settings) -> str:
    """Run ``latentstream worker trainer --once`` and return what it says."""
    command = [sys.executable, "-m", "workers", "worker", "trainer", "--once"]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment(settings), capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def shuffled(world: World, held_out: float) -> list[InteractionEvent]:
    """Take back what came before the held-out part, and let everybody have touched random items at these times."""
    times = sorted(event.timestamp or 0 for event in world.interactions)
    until = times[int((1 - held_out) * len(times)) - 1]
    early = [event for event in world.interactions if (event.timestamp or 0) <= until]
    items = [event.item_id for event in early]
    random.Random(1).shuffle(items)
    kept = {(event.user_id, event.item_id) for event in world.interactions if (event.timestamp or 0) > until}
    back = [replace_event(event, weight=0.0) for event in early if (event.user_id, event.item_id) not in kept]
    new = [
        replace_event(event, item_id=item)
        for event, item in zip(early, items, strict=True)
        if (event.user_id, item) not in kept
    ]
    return back + new


def replace_event(event: InteractionEvent, **changes: Any) -> InteractionEvent:
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    return InteractionEvent(**{**fields, **changes})


def test_the_first_model_is_promoted_and_one_of_shuffled_data_refused(
    settings: Settings, redis_client: redis.Redis, world: World
) -> None:
    keys, registry = Keys(settings.redis.prefix), Registry(settings.registry)
    connections.ensure_topics(settings)
    publish(settings, world.items)
    publish(settings, world.interactions)
    redis_client.set(keys.training_due, "a test")
    told = train(settings)
    first = current_version(redis_client, keys)
    assert first is not None
    assert f"{first} was promoted: the first model: NDCG@50" in told
    assert not redis_client.exists(keys.training_due, keys.trainer)
    manifest = registry.manifest(first)
    assert sum(manifest.offsets[settings.kafka.interactions_topic].values()) == len(world.interactions)
    times = sorted(event.timestamp or 0 for event in world.interactions)
    assert manifest.trained_until is not None
    assert sum(time > manifest.trained_until for time in times) == pytest.approx(0.2 * len(times), rel=0.15)
    check_report(registry.report_path(first), 4)
    assert not list(settings.registry.glob(".reading-*"))

    publish(settings, shuffled(world, 0.2))
    told = train(settings)
    assert "was refused: not " in told
    assert current_version(redis_client, keys) == first
    (refused,) = set(registry.versions()) - {first}
    assert refused in told
    page = check_report(registry.report_path(refused), 4)
    figures = [float(value) for value in re.findall(r"NDCG@50 ([.\d]+), the current model's ([.\d]+)", page)[0]]
    assert figures[0] < 0.95 * figures[1]
    assert [one.version for one in promotions(redis_client, keys)] == [first]
    last = json.loads(redis_client.get(keys.training) or b"")
    assert (last["outcome"], last["version"]) == ("refused", refused)


def check_report(path: Path, pictures: int) -> str:
    """One HTML file that leads nowhere, with so many pictures in it."""
    page = html.unescape(path.read_text())
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == pictures
    for source in sources:
        head, _, data = source.partition(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(data).startswith(PNG)
    assert "http" not in re.sub(r'"data:[^"]*"', "", page)
    return page


def test_a_worker_trains_when_it_is_due_and_goes_on_after_a_stop(
    settings: Settings, redis_client: redis.Redis, world: World
) -> None:
    keys, registry = Keys(settings.redis.prefix), Registry(settings.registry)
    # More epochs than it takes to be stopped in the middle of them.
    content = settings.model.content.model_copy(update={"epochs": 120})
    slow = settings.model_copy(update={"model": settings.model.model_copy(update={"content": content})})
    connections.ensure_topics(settings)
    publish(settings, world.items)
    publish(settings, world.interactions)
    unfinished = settings.registry / ".unfinished-training"
    with worker_process(slow, "trainer"):
        wait_until(lambda: list(unfinished.glob("unfinished-*/*/state.npz")), "a checkpoint")
        assert redis_client.exists(keys.trainer)
    # It has ended by now, and left the plan; the lease is free at once.
    assert not redis_client.exists(keys.trainer)
    plan = json.loads((unfinished / f"{settings.redis.prefix}.json").read_bytes())
    assert plan["reason"] == "there is no model"
    assert current_version(redis_client, keys) is None
    assert registry.versions() == []
    # Nothing of what comes now is read by what goes on.
    publish(settings, world.interactions[:10])
    assert "was promoted" in train(slow)
    (version,) = registry.versions()
    offsets = registry.manifest(version).offsets
    assert sum(offsets[settings.kafka.interactions_topic].values()) == len(world.interactions)
    assert "An interrupted training with the same data and settings was continued." in check_report(
        registry.report_path(version), 4
    )
    assert list(unfinished.iterdir()) == []


def test_a_worker_promotes_and_trains_again_when_somebody_asks(
    settings: Settings, redis_client: redis.Redis, world: World
) -> None:
    keys = Keys(settings.redis.prefix)
    connections.ensure_topics(settings)
    publish(settings, world.items)
    publish(settings, world.interactions)
    with worker_process(settings, "trainer") as trainer:
        wait_until(lambda: current_version(redis_client, keys), "a first model", 120)
        wait_until(lambda: trainer.metric("latentstream_trainings_total", outcome="promoted") == 1, "it is counted")
        assert trainer.get("/live")[0] == 200
        assert 0 < trainer.metric("latentstream_list_quality", role="challenger") < 1
        redis_client.set(keys.training_due, "drift")
        wait_until(lambda: not redis_client.exists(keys.training_due), "it has begun")
        wait_until(lambda: trainer.metric("latentstream_trainings_total", outcome="refused") == 1, "as good", 120)
        assert "asked for: drift" in trainer.log()
