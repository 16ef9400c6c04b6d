"""Workers that start in a tenth of a second: forked from a process that has imported everything and done nothing yet.

Each is a process of its own, with its own clients of Kafka and Redis, and runs the command line as `latentstream` does.
Only the five seconds that Python takes to import TensorFlow are saved.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

REPOSITORY: Final = Path(__file__).parents[1]
# What workers import when they run, none of which starts threads of its own that a fork would lose.
_IMPORTED: Final = ("workers.cli", "workers.run", "tensorflow", "keras", "faiss")


class ForkServer:
    """The parent's side: forks commands, and knows how they ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._statuses: dict[int, int] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def fork(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, prepare: Sequence[Any] = ()
    ) -> Forked:
        """Start ``latentstream COMMAND``.

        ``prepare`` names a function as ``module:function``, and its arguments: it is called in the new process before.
        """
        request = {"command": list(command), "environment": dict(environment), "log": str(log), "prepare": prepare}
        return Forked(self, int(self._ask(request)["pid"]))

    def status(self, pid: int) -> int | None:
        """Return how a process ended, as ``subprocess`` has it (-9: killed), None where it runs."""
        with self._lock:
            if pid in self._statuses:
                return self._statuses[pid]
        ended = self._ask({})["ended"]
        with self._lock:
            self._statuses |= {int(one): int(status) for one, status in ended}
            return self._statuses.get(pid)

    def close(self) -> None:
        """End the server and all that it started."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            raise AssertionError("the fork server has ended; its message stands above")
        reply: dict[str, Any] = json.loads(answer)
        return reply


class Forked:
    """A process of the server, as ``subprocess.Popen`` has its own."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server = server
        self.pid = pid

    def poll(self) -> int | None:
        """Return how it ended, None where it runs."""
        return self._server.status(self.pid)

    def send_signal(self, number: int) -> None:
        """Send a signal to it, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        """Return how it ended.

        Raises:
            subprocess.TimeoutExpired: it has not in time.
        """
        end = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.02)
        return status


@functools.cache
def shared_fork_server() -> ForkServer:
    """Return the server of this test session."""
    server = ForkServer()
    atexit.register(server.close)
    return server


def serve() -> None:
    """Fork what is asked for on standard input, a JSON object a line, until that ends."""
    # Ctrl-C at the terminal is for the parent, which closes our input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w")
    # Libraries may print what they like.
    os.dup2(2, 1)
    for name in _IMPORTED:
        importlib.import_module(name)
    running: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if request:
            pid = os.fork()
            if pid == 0:
                _run(request)
            running.add(pid)
            answer: dict[str, Any] = {"pid": pid}
        else:
            ended = [(pid, status) for pid in sorted(running) if (status := _ended(pid)) is not None]
            running -= {pid for pid, _ in ended}
            answer = {"ended": ended}
        print(json.dumps(answer), file=answers, flush=True)
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _ended(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def _run(request: dict[str, Any]) -> NoReturn:
    """Become the worker."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for target, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
            os.dup2(source, target)
        os.environ.clear()
        os.environ.update(request["environment"])
        if request["prepare"]:
            module, _, function = request["prepare"][0].partition(":")
            getattr(importlib.import_module(module), function)(*request["prepare"][1:])
        sys.argv = ["latentstream", *request["command"]]
        importlib.import_module("workers.cli").main()
        status = 0
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter would
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit: the server's own cleanup is not ours.
        os._exit(status)


if __name__ == "__main__":
    serve()
