"""``latentstream train`` and ``models`` with the registry at a URL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis
from fsspec.implementations.memory import MemoryFileSystem

from models.errors import BundleError
from schemas.keys import Keys
from schemas.settings import Settings
from tests.cli.conftest import Run
from workers.cli.errors import CommandFailed
from workers.lookup import current_version

URL = "memory://bucket/models"


@pytest.fixture
def run_at_url(run_real: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    monkeypatch.setenv("LATENTSTREAM_MODEL__REGISTRY", URL)
    for name, value in {"CONTENT__LATENT_DIM": "2", "CONTENT__EPOCHS": "1", "CONTENT__HIDDEN": "[4]"}.items():
        monkeypatch.setenv(f"LATENTSTREAM_MODEL__{name}", value)
    return run_real


@pytest.fixture
def events(tmp_path: Path) -> Path:
    path = tmp_path / "items.jsonl"
    items = [{"item_id": f"i{n}", "features": [n % 7, n % 5, n % 3, n % 2]} for n in range(40)]
    path.write_text("\n".join(map(json.dumps, items)))
    return path


def listed(run: Run) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("models", "list", "--json").stdout)
    return found


def test_train_promote_roll_back_and_prune(
    run_at_url: Run, events: Path, settings: Settings, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keys(settings.redis.prefix)
    assert URL in run_at_url("models", "list").stdout
    versions = []
    for seed in (0, 1):
        monkeypatch.setenv("LATENTSTREAM_MODEL__SEED", str(seed))
        result = run_at_url("train", "--items", str(events))
        assert result.exit_code == 0, result.exception
        versions.append(current_version(redis_client, keys) or "")
    first, second = versions
    assert [(one["version"], one["state"], one["damaged"]) for one in listed(run_at_url)] == [
        (first, "before", ""),
        (second, "current", ""),
    ]
    # Another machine has nothing but the URL.
    monkeypatch.setenv("LATENTSTREAM_HOME", str(settings.home / "another"))
    assert json.loads(run_at_url("models", "show", "--json").stdout)["manifest"]["trained_items"] == 0
    assert first in run_at_url("models", "rollback").stdout
    assert current_version(redis_client, keys) == first
    assert isinstance(run_at_url("models", "promote", "absent").exception, BundleError)
    assert run_at_url("models", "prune", "--keep", "0", "--yes").exit_code == 0
    assert [one["version"] for one in listed(run_at_url)] == [first]


def test_a_model_whose_upload_fails_is_not_lost(
    run_at_url: Run, events: Path, settings: Settings, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError("read only")

    with monkeypatch.context() as broken:
        broken.setattr(MemoryFileSystem, "put_file", denied)
        failed = run_at_url("train", "--items", str(events)).exception
    assert isinstance(failed, CommandFailed)
    assert current_version(redis_client, Keys(settings.redis.prefix)) is None
    version = str(failed).partition("models promote ")[2].partition("`")[0]
    assert run_at_url("models", "promote", version).exit_code == 0
    assert [one["version"] for one in listed(run_at_url)] == [version]
    assert current_version(redis_client, Keys(settings.redis.prefix)) == version


def test_a_url_is_a_setting_and_its_password_is_not_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSTREAM_MODEL__REGISTRY", "sftp://user:s3cret@host/models")
    shown = run("config").stdout
    assert "sftp://user:***@host/models" in shown
    assert "s3cret" not in shown
    monkeypatch.setenv("LATENTSTREAM_MODEL__REGISTRY", "/srv/models")
    assert Settings().registry == Path("/srv/models")
    assert Settings().registry_url is None
