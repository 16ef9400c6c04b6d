"""Workers as child processes, for the demos and the benchmark."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final

from schemas.settings import ENV_PREFIX
from workers.sandbox import Sandbox, SandboxError

# Loading TensorFlow and a model takes 10 s on a slow machine.
READY_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 30.0
# A batch takes well under a second.
STALLED_AFTER_S: Final = 60.0
_POLL_S: Final = 0.2
# `latentstream`, whether or not it is on PATH.
COMMAND: Final = (sys.executable, "-m", "workers")


class WorkerProcess:
    """One worker in a sandbox; its log is ``ROLE.log`` and its process id ``ROLE.pid`` in its directory."""

    def __init__(self, sandbox: Sandbox, role: str) -> None:
        self.role = role
        self.log = sandbox.directory / f"{role}.log"
        self._pid_file = sandbox.directory / f"{role}.pid"
        self._port = _free_port()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*COMMAND, "worker", role],
                env=sandbox.environment | {f"{ENV_PREFIX}HEALTH__PORT": str(self._port)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._pid_file.write_text(f"{self._process.pid}\n")

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def is_ready(self) -> bool:
        """Return whether model and index are loaded.

        Raises:
            SandboxError: the worker has ended.
        """
        if self._process.poll() is not None:
            raise SandboxError(f"the {self.role} ended: {_last_line(self.log)} (its log is {self.log})")
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False  # It does not listen yet.
        finally:
            connection.close()

    def stop(self) -> None:
        """Ask the worker to finish and wait for it; kill it if it does not."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._pid_file.unlink(missing_ok=True)


class Workers:
    """Workers that run inside a ``with`` block, and after it where ``keep`` is set."""

    def __init__(
        self, sandbox: Sandbox, roles: Sequence[str] = ("encoder", "recommender"), *, keep: bool = False
    ) -> None:
        self._sandbox = sandbox
        self._roles = roles
        self._keep = keep
        self.processes: Sequence[WorkerProcess] = []

    def __enter__(self) -> Workers:
        # Who stops this process means the workers too.
        signal.signal(signal.SIGTERM, _exit)
        self.processes = [WorkerProcess(self._sandbox, role) for role in self._roles]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keep and kind is None:
            return
        for process in self.processes:
            process.stop()

    def wait_ready(self) -> None:
        """Return when all are ready.

        Raises:
            SandboxError: one has ended, or takes too long.
        """
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not all(process.is_ready() for process in self.processes):
            if time.monotonic() > deadline:
                raise SandboxError(f"the workers are not ready after {READY_TIMEOUT_S:.0f} s; see {self._logs()}")
            time.sleep(_POLL_S)

    def wait_done(self, left: Callable[[], int], advance: Callable[[int], None] = lambda left: None) -> None:  # noqa: ARG005
        """Return when ``left()``, the number of events still to process, is 0; ``advance`` is told each number.

        Raises:
            SandboxError: a worker has ended, or nothing was processed for ``STALLED_AFTER_S``.
        """
        least, progressed = left(), time.monotonic()
        while least:
            advance(least)
            time.sleep(_POLL_S)
            self.check()
            remaining = left()
            if remaining < least:
                least, progressed = remaining, time.monotonic()
            elif time.monotonic() - progressed > STALLED_AFTER_S:
                raise SandboxError(
                    f"the workers have processed nothing for {STALLED_AFTER_S:.0f} s; see {self._logs()}"
                )

    def check(self) -> None:
        """Raise SandboxError if a worker has ended."""
        for process in self.processes:
            process.is_ready()

    def _logs(self) -> str:
        return " and ".join(str(process.log) for process in self.processes)


def run_command(sandbox: Sandbox, *arguments: str, quiet: bool = False, log_level: str = "INFO") -> None:
    """Run ``latentstream ARGUMENTS`` in the sandbox, which logs from ``log_level`` on.

    Its output goes where that of this process does; with ``quiet`` all of it to standard error.

    Raises:
        SandboxError: it fails.
    """
    done = subprocess.run(
        [*COMMAND, *arguments],
        env=sandbox.environment | {f"{ENV_PREFIX}LOG_LEVEL": log_level},
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr if quiet else None,
        check=False,
    )
    if done.returncode:
        raise SandboxError(f"`latentstream {' '.join(arguments)}` failed")


def _exit(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
    sys.exit(128 + signum)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _last_line(log: Path) -> str:
    """Return the last thing that a worker said, out of its JSON where it is that."""
    lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
    with suppress(ValueError):
        said = json.loads(lines[-1])
        if isinstance(said, dict):
            return str(said.get("reason") or said.get("event"))
    return lines[-1]
