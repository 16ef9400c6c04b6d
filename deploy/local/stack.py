"""The local stack: Kafka and Redis with their data under ``home/stack``, started, stopped and found again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

from deploy.local import kafka, redis
from deploy.local.processes import Say, ServerProcess, StackError, exclusive, write_atomically
from schemas.settings import STACK_STATE, Settings

# A port found free can be taken before the server listens on it, though hardly twice.
_ATTEMPTS: Final = 3


@dataclass(frozen=True)
class Service:
    """Kafka or Redis, as the settings and the stack have it.

    ``origin`` "settings" means that its address is given there: the stack neither starts nor asks it, and
    ``address`` may contain a password. ``running`` means that it answers.
    """

    name: Literal["kafka", "redis"]
    origin: Literal["stack", "settings"]
    address: str
    running: bool = False
    pid: int | None = None
    log: Path | None = None


class Stack(NamedTuple):
    """Both services."""

    kafka: Service
    redis: Service


class _Kind(NamedTuple):
    """How to handle one kind of server."""

    name: Literal["kafka", "redis"]
    process: Callable[[Path], ServerProcess]
    start: Callable[[ServerProcess, Say], None]
    answers: Callable[[int | None], bool]
    address: str
    field: str
    start_timeout_s: float
    stop_timeout_s: float


_KINDS: Final = (
    _Kind(
        name="kafka",
        process=kafka.process,
        start=kafka.start,
        answers=kafka.answers,
        address="127.0.0.1:{}",
        field="bootstrap_servers",
        start_timeout_s=kafka.START_TIMEOUT_S,
        stop_timeout_s=kafka.STOP_TIMEOUT_S,
    ),
    _Kind(
        name="redis",
        process=redis.process,
        start=redis.start,
        answers=redis.answers,
        address="redis://127.0.0.1:{}/0",
        field="url",
        start_timeout_s=redis.START_TIMEOUT_S,
        stop_timeout_s=redis.STOP_TIMEOUT_S,
    ),
)


def up(settings: Settings, say: Say) -> Stack:
    """Start what is neither given in the settings nor running, wait until it answers, and write the state file.

    ``Settings`` made afterwards find the addresses by themselves; ``settings`` itself does not change.

    Raises:
        StackError: something to install is missing, or a server does not start.
    """
    with exclusive(_lock(settings)):
        kinds = [kind for kind in _KINDS if _given(settings, kind) is None]
        found = [kind for kind in kinds if _server(settings, kind).pid is not None]
        for kind in kinds:
            if kind not in found:
                kind.start(_server(settings, kind), say)
        for kind in kinds:
            _wait(_server(settings, kind), kind, say, was_running=kind in found)
        _write_state(settings)
        return status(settings)


def down(settings: Settings, say: Say, *, delete_data: bool = False) -> None:
    """Stop what the stack runs, and with ``delete_data`` remove all that it has written."""
    with exclusive(_lock(settings)):
        for kind in _KINDS:
            _server(settings, kind).terminate()
        for kind in _KINDS:
            _server(settings, kind).wait_ended(kind.stop_timeout_s, say)
            if delete_data and _server(settings, kind).directory.exists():
                shutil.rmtree(_server(settings, kind).directory)
        (settings.home / STACK_STATE).unlink(missing_ok=True)


def status(settings: Settings) -> Stack:
    """Return how both services are now; starts and changes nothing."""
    return Stack(*(_service(settings, kind) for kind in _KINDS))


def _service(settings: Settings, kind: _Kind) -> Service:
    given = _given(settings, kind)
    if given is not None:
        return Service(kind.name, "settings", given)
    server = _server(settings, kind)
    pid = server.pid
    if pid is None:
        return Service(kind.name, "stack", "")
    address = kind.address.format(server.port)
    return Service(kind.name, "stack", address, kind.answers(server.port), pid, server.log)


def _server(settings: Settings, kind: _Kind) -> ServerProcess:
    # Resolved, because a server is known again by a path on its command line.
    return kind.process((settings.home / STACK_STATE).parent.resolve())


def _lock(settings: Settings) -> Path:
    return settings.home / STACK_STATE.parent / "lock"


def _given(settings: Settings, kind: _Kind) -> str | None:
    """Return the address in the settings, None where there is none or it is the one of this stack."""
    address = settings.kafka.bootstrap_servers if kind.name == "kafka" else settings.redis.url.get_secret_value()
    ours = kind.address.format(_server(settings, kind).port)
    return address if address not in ("", ours) else None


def _wait(server: ServerProcess, kind: _Kind, say: Say, *, was_running: bool) -> None:
    """Wait until the server answers; start it anew where it was found about to end, or its port was taken."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            server.wait_until(lambda: kind.answers(server.port), kind.start_timeout_s)
        except StackError:
            ending = was_running and attempt == 1
            port_taken = "address already in use" in server.log.read_text(errors="replace").lower()
            if server.pid is not None or attempt == _ATTEMPTS or not (ending or port_taken):
                raise
            kind.start(server, say)
        else:
            return


def _write_state(settings: Settings) -> None:
    """Write the addresses where ``Settings`` look for them, and the process ids for people."""
    running = [service for service in status(settings) if service.pid is not None]
    state: dict[str, object] = {
        kind.name: {kind.field: service.address} for kind in _KINDS for service in running if service.name == kind.name
    }
    state["pids"] = {service.name: service.pid for service in running}
    write_atomically(settings.home / STACK_STATE, json.dumps(state, indent=2) + "\n")
