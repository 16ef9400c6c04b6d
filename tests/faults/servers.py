"""A Kafka broker and a Redis server that can be killed, stopped, filled and set back."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from deploy.local import kafka
from deploy.local import redis as local_redis
from deploy.local.processes import ServerProcess, free_ports, write_atomically

# So soon the partitions of a killed worker are free again.
SESSION_TIMEOUT_MS: Final = 3_000
_OVERRIDES: Final = {"group.min.session.timeout.ms": "1000"}
_TIMEOUT_S: Final = 60.0


class _PatientClient(redis.Redis):
    """Waits where Redis was stopped in the middle of a script: that takes too long then, and everybody is told so."""

    def execute_command(self, *arguments: Any, **options: Any) -> Any:
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            try:
                return super().execute_command(*arguments, **options)  # type: ignore[no-untyped-call]
            except redis.ResponseError as error:
                if not str(error).startswith("BUSY Redis") or time.monotonic() > deadline:
                    raise
            time.sleep(0.05)


class Servers:
    """Both servers, with their data under ``home``."""

    def __init__(self, home: Path) -> None:
        self._kafka = kafka.process(home)
        self._redis = local_redis.process(home)
        self._copies = home / "copies"
        for server in (self._kafka, self._redis):
            server.directory.mkdir(parents=True)
            write_atomically(server.directory / "server.json", json.dumps({"pid": 0, "port": _steady_port()}))

    def start(self) -> None:
        """Start both and wait until they answer."""
        self.start_kafka()
        self.start_redis()

    def stop(self) -> None:
        """Kill both; their data go with the directory."""
        for server in (self._kafka, self._redis):
            _kill(server)

    @property
    def bootstrap_servers(self) -> str:
        """The address of the broker, the same after each start."""
        return f"127.0.0.1:{self._kafka.port}"

    @property
    def redis_url(self) -> str:
        """The address of Redis, the same after each start."""
        return f"redis://127.0.0.1:{self._redis.port}/0"

    @property
    def logs(self) -> list[Path]:
        """What the servers have said since their last start."""
        return [server.log for server in (self._kafka, self._redis)]

    def client(self) -> Any:
        """Return a client of Redis that waits for it."""
        retry = Retry(ExponentialBackoff(cap=1.0, base=0.05), retries=60)
        return _PatientClient.from_url(self.redis_url, protocol=2, socket_timeout=30, retry=retry)

    def kill_kafka(self) -> None:
        """End the broker at once."""
        _kill(self._kafka)

    def start_kafka(self) -> None:
        """Start the broker on its old port and data."""
        kafka.start(self._kafka, print, _OVERRIDES)
        self._kafka.wait_until(lambda: kafka.answers(self._kafka.port), _TIMEOUT_S)

    def kill_redis(self) -> None:
        """End Redis at once; what it has acknowledged is in its append-only file."""
        _kill(self._redis)

    def start_redis(self) -> None:
        """Start Redis on its old port and data."""
        local_redis.start(self._redis, print)
        self._redis.wait_until(lambda: local_redis.answers(self._redis.port), _TIMEOUT_S)

    def copy_redis(self) -> None:
        """Keep what Redis has now, in the way of a backup of its files while it runs."""
        shutil.rmtree(self._copies, ignore_errors=True)
        # Between two writes to the append-only file, so that the copy has whole commands.
        with self.redis_stopped():
            shutil.copytree(self._redis.directory / "appendonlydir", self._copies)

    def restore_redis(self) -> None:
        """Set Redis back to the last copy: all that came after it is gone."""
        _kill(self._redis)
        shutil.rmtree(self._redis.directory / "appendonlydir")
        shutil.copytree(self._copies, self._redis.directory / "appendonlydir")
        self.start_redis()

    @contextmanager
    def kafka_stopped(self) -> Iterator[None]:
        """Let the broker stand still: it takes connections, and answers nothing."""
        with _stopped(self._kafka):
            yield

    @contextmanager
    def redis_stopped(self) -> Iterator[None]:
        """Let Redis stand still."""
        with _stopped(self._redis):
            yield


def _steady_port() -> int:
    """Return a free port below those that the system gives to clients.

    Who tries again and again to connect to such a one, while nobody listens, may at last connect to itself, and the
    server does not get its port back.
    """
    while True:
        wanted = random.randrange(10_000, 30_000)
        (port,) = free_ports([wanted])
        if port == wanted:
            return port


def _kill(server: ServerProcess) -> None:
    pid, port = server.pid, server.port
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + _TIMEOUT_S
        # Its other threads, and a child that Redis has just forked, hold the port for some moments more; started
        # in one of them, the server would take another.
        while server.pid is not None or free_ports([port]) != [port]:
            if time.monotonic() > deadline:
                raise AssertionError(f"{server.name} was killed, and port {port} is still taken")
            time.sleep(0.01)


@contextmanager
def _stopped(server: ServerProcess) -> Iterator[None]:
    pid = server.pid
    if pid is None:
        raise AssertionError(f"{server.name} does not run")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
