"""Load on a Redis server out of one process: plain connections, each with one request under way (a closed loop).

The server, what answers its queries and the load share the cores, so a request must cost the load little: requests are
bytes that were made beforehand, and replies are only parsed by hiredis.
"""

from __future__ import annotations

import itertools
import multiprocessing
import selectors
import socket
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import hiredis

from workers.bench.latency import percentile
from workers.sandbox import SandboxError

# In a request: stands for a number that no other request has, of as many digits.
REQUEST_NUMBER: Final = b"{request-number}"
# So much of a run goes before it and does not count: connections and caches get warm.
WARM_UP_SHARE: Final = 0.3
TIMEOUT_S: Final = 60.0
_HOST: Final = "127.0.0.1"
_READ_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests that are sent in turn, each as RESP.

    Args:
        requests: of one or more commands, to be written at once.
        accepts: whether the last reply to a request is what was asked for. Another process calls it, and imports the
            module of it: best one of those below, which import little.
        replies: how many replies there are to a request.
    """

    requests: Sequence[bytes]
    accepts: Callable[[Any], bool]
    replies: int = 1


class Run(NamedTuple):
    """What ``clients`` were given in one run. Only requests that were answered as asked count, but for ``failed``.

    ``client_cpu`` is the share of a core that the load took: near 1 it is the load that was measured.
    """

    qps: float
    p50_ms: float
    p99_ms: float
    failed: int
    client_cpu: float


def command(*parts: str | bytes | int) -> bytes:
    """Return a command as RESP."""
    packed: bytes = hiredis.pack_command(parts)  # type: ignore[arg-type] # Its stub knows commands of one word only.
    return packed


def is_list(reply: Any) -> bool:
    """Return whether a reply is a list, and no error."""
    return isinstance(reply, list)


def is_string(reply: Any) -> bool:
    """Return whether a reply is a string, and no error."""
    return isinstance(reply, bytes)


def is_answered_query(reply: Any) -> bool:
    """Return whether what BLPOP gave is a ``schemas.documents.QueryReply`` that is neither an error nor "busy"."""
    return isinstance(reply, list) and b'"status":"ok"' in reply[1]


def exchange(port: int, requests: Iterable[bytes], clients: int, replies: int = 1) -> Iterator[tuple[float, Any]]:
    """Send ``requests`` over ``clients`` connections; yield for each the seconds that it took and its last reply.

    With one client the replies come in the order of the requests.

    Raises:
        SandboxError: the server closes a connection, or does not reply for a minute.
    """
    numbered = zip(requests, itertools.count(), strict=False)
    with selectors.DefaultSelector() as selector:
        connections = [_Connection(port, replies) for _ in range(clients)]
        try:
            for connection in connections:
                selector.register(connection.socket, selectors.EVENT_READ, connection)
            under_way = sum(connection.send_next(numbered) for connection in connections)
            while under_way:
                ready = selector.select(TIMEOUT_S)
                if not ready:
                    raise SandboxError(f"{under_way} of {clients} clients had no reply for {TIMEOUT_S:.0f} s")
                for key, _ in ready:
                    connection = key.data
                    if connection.receive():
                        seconds, reply = connection.seconds, connection.reply
                        under_way -= not connection.send_next(numbered)
                        yield seconds, reply
        finally:
            for connection in connections:
                connection.socket.close()


def answered(port: int, traffic: Traffic) -> list[Any]:
    """Return the last reply to each request, asked one after the other.

    Raises:
        SandboxError: one is not what was asked for.
    """
    replies = [reply for _, reply in exchange(port, traffic.requests, 1, traffic.replies)]
    for reply in replies:
        if not traffic.accepts(reply):
            raise SandboxError(f"a request was answered with {reply!r}")
    return replies


class LoadGenerator:
    """A process that asks the server on ``port``, inside a ``with`` block."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def run(self, traffic: Traffic, clients: int, seconds: float) -> Run:
        """Let ``clients`` ask for ``seconds``, after a warm-up, and return what they were given.

        Raises:
            SandboxError: the server closes a connection or does not reply, or not one answer was right.
        """
        try:
            return self._pool.submit(_run, self._port, traffic, clients, seconds).result()
        except BrokenProcessPool as error:
            raise SandboxError("the process that makes the load has ended: is there enough memory?") from error


class _Connection:
    """One client: it sends a request when it has all replies to the one before."""

    def __init__(self, port: int, replies: int) -> None:
        self.socket = socket.create_connection((_HOST, port), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()
        self._replies = replies
        self._left = 0
        self._sent_at = 0.0
        self.seconds = 0.0
        self.reply: Any = None

    def send_next(self, requests: Iterator[tuple[bytes, int]]) -> bool:
        """Send the next of the numbered ``requests``, return False where there is none."""
        for request, number in requests:
            self._left = self._replies
            data = request.replace(REQUEST_NUMBER, b"%016d" % number)
            self._sent_at = time.perf_counter()
            self.socket.sendall(data)
            return True
        return False

    def receive(self) -> bool:
        """Take what has come, and return whether the last reply is there."""
        data = self.socket.recv(_READ_BYTES)
        if not data:
            raise SandboxError("the server has closed a connection")
        self._reader.feed(data)
        while self._left and (reply := self._reader.gets()) is not False:
            self.reply = reply
            self._left -= 1
        if self._left:
            return False
        self.seconds = time.perf_counter() - self._sent_at
        return True


def _run(port: int, traffic: Traffic, clients: int, seconds: float) -> Run:
    started, used = time.perf_counter(), time.process_time()
    begin = started + WARM_UP_SHARE * seconds
    end = begin + seconds
    requests = itertools.takewhile(lambda _: time.perf_counter() < end, itertools.cycle(traffic.requests))
    took = array("d")
    in_time = failed = 0
    for latency, reply in exchange(port, requests, clients, traffic.replies):
        now = time.perf_counter()
        if now < begin:
            continue
        if not traffic.accepts(reply):
            failed += 1
            continue
        # Latencies are those of all, or the slowest would be missing: they are more often under way at the end.
        took.append(latency)
        in_time += now < end
    cpu = (time.process_time() - used) / (time.perf_counter() - started)
    if not took:
        raise SandboxError(f"not one of {failed} answers in {seconds:g} s was right")
    ordered = sorted(took)
    p50, p99 = (1000 * percentile(ordered, percent) for percent in (50, 99))
    return Run(in_time / seconds, p50, p99, failed, cpu)
