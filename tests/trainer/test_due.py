"""When a training is due, against a real Kafka and Redis."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import redis

from models.registry import Registry
from schemas.events import InteractionEvent
from schemas.keys import Keys
from schemas.settings import Settings, TrainerSettings
from tests.e2e.conftest import publish
from workers import connections
from workers.last_training import LastTraining, read_last, write_last
from workers.trainer.due import LEAST_COUNTED, Due
from workers.trainer.plan import Plan, PlanFile

KNOWN = 40


@pytest.fixture
def due(settings: Settings, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Due:
    monkeypatch.setattr("workers.trainer.due.GROWTH_CHECK_S", 0.0)
    monkeypatch.setattr(Registry, "vocabulary", lambda _, __: [str(number) for number in range(KNOWN)])
    connections.ensure_topics(settings)
    return Due(settings, redis_client, Registry(settings.registry))


def note(settings: Settings, client: redis.Redis, ago: float, offsets: dict[str, dict[int, int]]) -> None:
    write_last(client, Keys(settings.redis.prefix), LastTraining(time.time() - ago, "refused", "v", "", offsets))


def test_it_is_due_without_a_model_when_asked_and_when_it_is_time(
    settings: Settings, redis_client: redis.Redis, due: Due
) -> None:
    keys = Keys(settings.redis.prefix)
    assert due.reason(None) == "there is no model"
    assert due.reason("v") == "no training was recorded"
    note(settings, redis_client, 1.0, {})
    assert due.reason(None) is None
    assert due.reason("v") is None
    redis_client.set(keys.training_due, "drift of Kino Ä")
    assert due.reason("v") == "asked for: drift of Kino Ä"
    redis_client.hset(keys.experiment, "name", "spring")
    assert due.reason("v") is None
    redis_client.delete(keys.training_due, keys.experiment)
    note(settings, redis_client, 100_000.0, {})
    assert due.reason(None) == "there is no model"
    assert due.reason("v") == "the last training ended 100000 s ago"


def test_it_is_due_when_much_is_new_since_the_last_one(settings: Settings, redis_client: redis.Redis, due: Due) -> None:
    topic = settings.kafka.interactions_topic

    def touch(count: int, first: int) -> None:
        publish(settings, [InteractionEvent(str(user), str(first + user % KNOWN)) for user in range(count)])

    def ends() -> dict[str, dict[int, int]]:
        from workers.training import end_offsets

        return end_offsets(settings)

    note(settings, redis_client, 1.0, {})
    touch(2 * LEAST_COUNTED, 1000)
    assert due.reason("v") == "100% of the new interactions are with items that the model was not trained on"
    # These were there at the last training.
    note(settings, redis_client, 1.0, ends())
    assert due.reason("v") is None
    touch(2 * LEAST_COUNTED, 0)
    assert due.reason("v") is None
    touch(LEAST_COUNTED, 1000)
    assert due.reason("v") == "33% of the new interactions are with items that the model was not trained on"
    assert topic in ends()


def test_what_is_no_record_of_a_training_is_taken_for_none(settings: Settings, redis_client: redis.Redis) -> None:
    keys = Keys(settings.redis.prefix)
    redis_client.set(keys.training, "{}")
    assert read_last(redis_client, keys) is None


def test_a_plan_is_kept_until_something_else_would_be_trained(settings: Settings, tmp_path: Path) -> None:
    file = PlanFile(tmp_path / "a" / "plan.json")
    assert file.load() is None
    plan = Plan.new("why", "20240101T000000", {"items": {0: 7}}, "v", settings)
    file.save(plan)
    assert file.load() == plan
    assert plan.fits("v", settings)
    assert not plan.fits("w", settings)
    assert plan.fits("v", settings.model_copy(update={"trainer": TrainerSettings(interval_s=5)}))
    assert not plan.fits("v", settings.model_copy(update={"trainer": TrainerSettings(margin=0.5)}))
    (tmp_path / "a" / "plan.json").write_text("{")
    assert file.load() is None
    file.remove()
    file.remove()
