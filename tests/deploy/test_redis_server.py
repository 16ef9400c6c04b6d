"""The chart's Redis: a real server with the configuration that the chart renders and the users of the runbook."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from deploy.local.processes import free_ports
from deploy.local.redis import redis_server
from tests.deploy.chart import Manifest, of_kind, pods
from tests.e2e.conftest import wait_until
from tests.e2e.test_acl import USERS
from tests.processes import REPOSITORY

RUNBOOK: Final = (REPOSITORY / "deploy" / "README.md").read_text()
PASSWORD: Final = "correct-horse"


def _users_file() -> str:
    """Return the file of users that the runbook has, with a password."""
    found = re.search(r"<<'USERS'\n(.*?)^USERS$", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert found
    return found[1].replace("$PASSWORD", PASSWORD).replace("PASSWORD", PASSWORD)


def test_the_users_are_those_of_the_readme() -> None:
    users = {line.split()[1]: line.split()[2:] for line in _users_file().splitlines()}
    assert users.keys() == {"default", *USERS}
    for name, rules in USERS.items():
        assert users[name] == [rule.replace(">PASSWORD", f">{PASSWORD}") for rule in rules]


@pytest.fixture
def server(rendered: dict[str, list[Manifest]], tmp_path: Path) -> Iterator[int]:
    """Start a server as the chart would, but for its directories and port; give the port."""
    (configuration,) = (one for one in of_kind(rendered["dev"], "ConfigMap") if "redis.conf" in one["data"])
    text = configuration["data"]["redis.conf"]
    for mounted in ("/data", "/etc/redis-users"):
        assert mounted in text
        text = text.replace(mounted, str(tmp_path))
    (tmp_path / "redis.conf").write_text(text)
    (tmp_path / "users.acl").write_text(_users_file())
    (port,) = free_ports([None])
    process = subprocess.Popen(
        [redis_server(), str(tmp_path / "redis.conf"), "--port", str(port), "--bind", "127.0.0.1"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def test_it_keeps_everything_and_lets_in_who_has_a_password(server: int) -> None:
    def client(user: str | None = None) -> Any:
        return redis.Redis(port=server, username=user, password=PASSWORD if user else None, protocol=2)

    wait_until(lambda: _answers(client()), "Redis answers")
    # The probes ask without a password, and can do nothing else.
    with pytest.raises(redis.exceptions.NoPermissionError):
        client().get("ls:recs:42")
    with pytest.raises(redis.exceptions.AuthenticationError):
        redis.Redis(port=server, username="worker", password="guessed", protocol=2).ping()
    worker = client("worker")
    worker.set("ls:recs:42", "{}")
    assert client("reader").get("ls:recs:42") == b"{}"
    memory = worker.info("memory")
    assert memory["maxmemory_policy"] == "noeviction"
    assert memory["maxmemory"] == 256 << 20
    assert worker.info("persistence")["aof_enabled"] == 1


def test_the_probes_ask_what_it_answers(rendered: dict[str, list[Manifest]]) -> None:
    container = pods(rendered["dev"])["StatefulSet test-redis"]["containers"][0]
    assert container["command"] == ["redis-server", "/etc/redis/redis.conf"]
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["exec"]["command"] == ["sh", "-c", "redis-cli ping | grep -q PONG"]


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
