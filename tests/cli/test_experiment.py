"""``latentstream experiment`` where there is nothing to show, and where what is asked cannot be."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from schemas.experiments import BadExperiment
from schemas.keys import Keys
from schemas.settings import Settings
from tests.cli.conftest import Run
from workers import connections
from workers.cli.errors import CommandFailed
from workers.errors import Repairable


def refused(run: Run, *arguments: str) -> str:
    error = run("experiment", *arguments).exception
    assert isinstance(error, (Repairable, BadExperiment)) or type(error).__name__ == "BundleError", repr(error)
    return str(error)


def test_without_an_experiment_it_says_how_to_begin_one(run_real: Run) -> None:
    for arguments in ([], ["stop"]):
        assert "latentstream experiment start VERSION" in refused(run_real, *arguments)
    assert "no current model" in refused(run_real, "start", "v2")


def test_only_what_can_serve_is_started(run_real: Run, settings: Settings, redis_client: redis.Redis) -> None:
    keys = Keys(settings.redis.prefix)
    redis_client.hset(keys.model, "version", "v1")
    assert "between 0 and 1" in refused(run_real, "start", "v2", "--share", "1.5")
    assert "two model versions" in refused(run_real, "start", "v1")
    assert "1 to 64 letters" in refused(run_real, "start", "v2", "--name", "a b")
    assert "no model v1" in refused(run_real, "start", "v2") or "not the name" in refused(run_real, "start", "v2")
    assert not redis_client.exists(keys.experiment)


def test_what_is_no_experiment_is_named_and_stop_removes_it(
    run_real: Run, settings: Settings, redis_client: redis.Redis
) -> None:
    connections.ensure_topics(settings)
    keys = Keys(settings.redis.prefix)
    redis_client.hset(keys.experiment, "share", "half")
    assert f"what stands in {keys.experiment}" in refused(run_real)
    assert redis_client.exists(keys.experiment)
    with pytest.raises(CommandFailed, match="It is removed"):
        raise run_real("experiment", "stop").exception or AssertionError("it ended well")
    assert not redis_client.exists(keys.experiment)


def test_one_that_runs_is_shown_before_anything_is_counted(
    run_real: Run, settings: Settings, redis_client: redis.Redis
) -> None:
    connections.ensure_topics(settings)
    keys = Keys(settings.redis.prefix)
    typed: Any = {"name": "spring", "control": "v1", "challenger": "v2", "share": "0.25"}
    redis_client.hset(keys.experiment, mapping=typed)
    redis_client.hset(keys.items("v1", 0).position, "next", 8)
    redis_client.hset(keys.items("v2", 0).position, "next", 2)
    shown = run_real("experiment")
    assert shown.exit_code == 0, shown.output
    for words in ("spring", "not live yet: 25% of the items encoded", "v2, 25% of the users", "Nothing is counted yet"):
        assert words in shown.stdout
