"""Workers as processes of their own, as people run them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, SecretStr

from schemas.settings import ENV_PREFIX, Settings
from tests.fork_server import Forked, ForkServer, shared_fork_server

REPOSITORY: Final = Path(__file__).parents[1]
# Most of it is the import of TensorFlow, which two workers and a broker do at once on two cores.
READY_TIMEOUT_S: Final = 120.0
DRAIN_TIMEOUT_S: Final = 60.0
_KILLED_WITHIN_S: Final = 10.0
_POLL_S: Final = 0.05


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment under which a process has exactly ``settings``, whatever the developer's are."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    return others | dict(_variables(settings, ENV_PREFIX))


def _variables(section: BaseModel, prefix: str) -> Iterator[tuple[str, str]]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        variable = prefix + name.upper()
        if isinstance(value, BaseModel):
            yield from _variables(value, f"{variable}__")
        elif isinstance(value, SecretStr):
            yield variable, value.get_secret_value()
        elif isinstance(value, list):
            yield variable, json.dumps(value)
        elif isinstance(value, dict):
            yield variable, json.dumps({key: one.model_dump(exclude_unset=True) for key, one in value.items()})
        elif value is not None:
            yield variable, str(value)


class WorkerProcess:
    """A running ``latentstream worker ROLE``, started as people do or from a fork server."""

    def __init__(
        self, settings: Settings, role: str, fork_server: ForkServer | None = None, prepare: Sequence[Any] = ()
    ) -> None:
        settings.home.mkdir(parents=True, exist_ok=True)
        self.role = role
        self._log = settings.home / f"{role}-{time.monotonic_ns()}.log"
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | Forked
        if fork_server is not None:
            # It may be looked at before the process is so far.
            self._log.touch()
            self._process = fork_server.fork(["worker", role], environment(settings), self._log, prepare)
            return
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "workers", "worker", role],
                cwd=REPOSITORY,
                env=environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def port(self) -> int:
        """The port of the health server; waits until the worker listens."""
        self._wait_for(lambda: self._find_port() is not None, "does not listen")
        assert self._port is not None
        return self._port

    def log(self) -> str:
        """Return all that the worker has said."""
        return self._log.read_text(errors="replace")

    def terminate(self) -> None:
        """Ask the worker to finish what it has and end."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the worker at once (``kill -9``)."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(_KILLED_WITHIN_S)

    def pause(self) -> None:
        """Stop the worker where it is, as a long pause of the machine would."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused worker go on."""
        self._process.send_signal(signal.SIGCONT)

    def wait(self, timeout_s: float) -> int:
        """Return the exit status; fail when the worker does not end in time."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(self._told(f"has not ended after {timeout_s:.0f} s")) from None

    def is_stopped(self) -> bool:
        """Return whether the process stands still (SIGSTOP)."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def is_running(self) -> bool:
        """Return whether the process has not ended."""
        return self._process.poll() is None

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body of a path of the health server; waits until the worker listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric over all samples that have ``labels``, 0 where there is none."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def wait_ready(self) -> None:
        """Return when the worker is ready; fail when it ends before or is not in time."""
        self._wait_for(lambda: self.get("/ready")[0] == 200, "is not ready")

    def _find_port(self) -> int | None:
        if self._port is None:
            for line in self.log().splitlines():
                # Libraries write lines of their own between ours.
                if line.startswith("{") and '"health_listening"' in line:
                    self._port = int(json.loads(line)["port"])
        return self._port

    def _wait_for(self, condition: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not condition():
            if not self.is_running():
                raise AssertionError(self._told(f"ended with {self._process.poll()}"))
            if time.monotonic() > deadline:
                raise AssertionError(self._told(f"{otherwise} after {READY_TIMEOUT_S:.0f} s"))
            time.sleep(_POLL_S)

    def _told(self, what: str) -> str:
        return f"the {self.role} {what}; the end of its log:\n{self.log()[-4000:]}"


@contextmanager
def worker_process(
    settings: Settings, role: str, *, wait_ready: bool = True, forked: bool = True
) -> Iterator[WorkerProcess]:
    """Run a worker under ``settings``; where it still runs at the end, it must drain on SIGTERM and exit with 0."""
    worker = WorkerProcess(settings, role, shared_fork_server() if forked else None)
    try:
        if wait_ready:
            worker.wait_ready()
        yield worker
        if worker.is_running():
            worker.terminate()
            status = worker.wait(DRAIN_TIMEOUT_S)
            assert status == 0, worker._told(f"ended with {status} on SIGTERM")
    finally:
        worker.kill()
