"""A server process that outlives the command that started it, found again by what it wrote down."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Say = Callable[[str], None]
"""Takes one line for the person who waits."""

_POLL_S: Final = 0.05
# The shell ends at once, so that the server is nobody's child: it gets no Ctrl-C of the terminal, and
# whoever started it need not wait for it.
_DETACH: Final = '"$@" >"$0" 2>&1 & echo $!'


class StackError(Exception):
    """The local stack cannot do what was asked. The message is one line and says what to do."""


@dataclass(frozen=True)
class ServerProcess:
    """One server with its data in ``directory``.

    ``directory/server.json`` holds the process id and the port of the last start. A process is taken for
    the server only if its command line names ``config``, so that a reused process id deceives nobody.
    """

    name: str
    directory: Path
    config: Path

    @property
    def log(self) -> Path:
        """Where the output of the server goes."""
        return self.directory / "server.log"

    @property
    def _note(self) -> Path:
        return self.directory / "server.json"

    @property
    def port(self) -> int | None:
        """The port of the last start, running or not."""
        return self._read("port")

    @property
    def pid(self) -> int | None:
        """The process id where the server runs, else None."""
        pid = self._read("pid")
        return pid if pid is not None and self._is_ours(pid) else None

    def _read(self, field: str) -> int | None:
        try:
            value = json.loads(self._note.read_text())[field]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            # Nothing, or half a file after a crash: the server counts as never started.
            return None
        return value if isinstance(value, int) else None

    def _is_ours(self, pid: int) -> bool:
        return os.fsencode(self.config) in _command_line(pid)

    def spawn(self, command: Sequence[str], port: int) -> None:
        """Start ``command``, which must name ``config``, in a session of its own and write down where it is."""
        shell = subprocess.run(
            ["/bin/sh", "-c", _DETACH, str(self.log), *command],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
            check=True,
        )
        write_atomically(self._note, json.dumps({"pid": int(shell.stdout), "port": port}))

    def wait_until(self, answers: Callable[[], bool], timeout_s: float) -> None:
        """Return when ``answers()`` is true.

        Raises:
            StackError: the process has ended, or does not answer in time.
        """
        deadline = time.monotonic() + timeout_s
        while not answers():
            if self.pid is None:
                raise StackError(f"{self.name} ended while starting: {self.last_line()}; see {self.log}")
            if time.monotonic() > deadline:
                raise StackError(f"{self.name} does not answer after {timeout_s:.0f} s; see {self.log}")
            time.sleep(_POLL_S)

    def last_line(self) -> str:
        """Return the last line of the log that is not a line of a Java stack trace."""
        lines = self.log.read_text(errors="replace").splitlines()
        told = [line for line in lines if line.strip() and not line.startswith(("\t", " "))]
        return told[-1].strip() if told else "it said nothing"

    def terminate(self) -> None:
        """Ask the server to end; returns at once."""
        if (pid := self.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def wait_ended(self, timeout_s: float, say: Say) -> None:
        """Return when the server has ended; kill it, and say so, if that takes longer than ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while (pid := self.pid) is not None:
            if time.monotonic() > deadline:
                say(f"{self.name} did not end within {timeout_s:.0f} s of SIGTERM, so it is killed.")
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                deadline += timeout_s
            time.sleep(_POLL_S)


def _command_line(pid: int) -> bytes:
    """Return the command line of a process, empty where there is none or it is a zombie."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return b""
    return subprocess.run(
        ["/bin/ps", "-ww", "-p", str(pid), "-o", "command="], stdin=subprocess.DEVNULL, capture_output=True, check=False
    ).stdout


def write_atomically(path: Path, text: str) -> None:
    """Replace ``path`` by ``text``; a reader sees the old or the new content, never a part."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def free_ports(wanted: Sequence[int | None]) -> list[int]:
    """Return one free loopback port for each entry: the one wanted where it is free."""
    with contextlib.ExitStack() as held:
        return [_hold_port(held, port) for port in wanted]


def _hold_port(held: contextlib.ExitStack, wanted: int | None) -> int:
    listener = held.enter_context(socket.socket())
    # As the servers do: a port whose last connections linger in TIME_WAIT is free.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", wanted or 0))
    except OSError:
        if wanted is None:
            raise
        listener.bind(("127.0.0.1", 0))
    return int(listener.getsockname()[1])


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``; whoever else wants it waits. The lock goes with the process that held it."""
    # A module that only Unix has, and Java and Redis are as little expected elsewhere.
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
