"""``python -m tests.faults.soak``: load and faults for a long time; see ``make soak``.

A worker of each role lives through all of it, and is watched: its memory, file descriptors and threads must not grow.
Others come, go and are killed. At the end the lag must return to zero, and Redis must be as the reference has it.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from tests.e2e.conftest import train_world
from tests.e2e.world import make_world
from tests.faults.points import ROLES, SENT, Role
from tests.faults.servers import Servers
from tests.faults.stream import Stream
from tests.faults.system import Difference, System
from tests.fork_server import ForkServer
from tests.processes import WorkerProcess

USERS: Final = 2_000
BAD_SHARE: Final = 0.001
ITEM_SHARE: Final = 0.02
# Published and acknowledged together.
_CHUNK: Final = 2_000
_SAMPLE_S: Final = 5.0
# By then the buffers of Kafka's client and TensorFlow's arenas have the size that they keep.
_WARM: Final = 0.25
GROWTH: Final = 0.05
# No more than the workers can do in the time they have to settle.
_MOST_LAG: Final = 250_000
_MOST_OTHERS: Final = 2
# There is always a backlog, and whoever has several events in a batch is ranked once.
_BATCH: Final = 8_192


@dataclass(frozen=True, slots=True)
class Sample:
    """What a process takes at one time; ``rss`` in bytes."""

    seconds: float
    rss: int
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int, seconds: float) -> Sample:
        """Return what ``/proc`` says of a process."""
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return cls(seconds, 1024 * int(status["VmRSS"].split()[0]), descriptors, int(status["Threads"]))


class Watched:
    """A worker that lives through everything, and what it took."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.worker = worker
        self.samples: list[Sample] = []

    def sample(self, seconds: float) -> None:
        """Look at it; it must still run."""
        if not self.worker.is_running():
            raise Difference(f"the {self.worker.role} that must live has ended:\n{self.worker.log()[-3000:]}")
        self.samples.append(Sample.of(self.worker.pid, seconds))

    def growth(self) -> dict[str, float]:
        """Return how much larger the last quarter is than the first quarter after warming up.

        Memory and threads are compared by their medians, descriptors by their most frequent number: with each fault
        connections are missing or doubled for a while, and a leak changes what is usual.

        Empty where it was never looked at.
        """
        if not self.samples:
            return {}
        warm = self.samples[int(_WARM * len(self.samples)) :]
        quarter = max(1, len(warm) // 4)

        def grown(field: str, typical: Callable[[list[int]], float]) -> float:
            first, last = ([getattr(sample, field) for sample in part] for part in (warm[:quarter], warm[-quarter:]))
            return typical(last) / typical(first) - 1

        return {
            "rss": grown("rss", statistics.median),
            "descriptors": grown("descriptors", statistics.mode),
            "threads": grown("threads", statistics.median),
        }


class Soak:
    """A system under load and faults."""

    def __init__(self, system: System, rate: float, seed: int) -> None:
        self._system = system
        self._stream = Stream(system.settings, seed, USERS, BAD_SHARE)
        self._rate = rate
        self._chance = random.Random(seed)
        self._stop = threading.Event()
        self._errors: list[Exception] = []
        self._watched = [Watched(system.start(role)) for role in ROLES]
        self.faults: Counter[str] = Counter()
        self.published = 0
        self.largest_lag = 0

    def run(self, seconds: float, say: Callable[[str], None]) -> None:
        """Load and break for so long, then settle.

        Raises:
            Difference: something is not as it must be.
            ExceptionGroup: what ended the load, the faults or both.
        """
        for watched in self._watched:
            watched.worker.wait_ready()
        threads = [threading.Thread(target=self._guarded, args=(work,)) for work in (self._load, self._break)]
        for thread in threads:
            thread.start()
        started = said = time.monotonic()
        try:
            while (passed := time.monotonic() - started) < seconds and not self._errors:
                for watched in self._watched:
                    watched.sample(passed)
                if time.monotonic() - said > 60:
                    said = time.monotonic()
                    say(f"{passed / 60:4.0f} min: {self.published:,} events, {self.faults.total()} faults")
                self._stop.wait(_SAMPLE_S)
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        if self._errors:
            # The other one's may be the cause of the first.
            raise ExceptionGroup("load or faults ended", self._errors)
        say("Settling.")
        self._system.settle()
        for watched in self._watched:
            watched.sample(seconds)

    def report(self, difference: str) -> dict[str, Any]:
        """Return what came of it; ``difference`` is empty where all was as it must be."""
        return {
            "faults": self.faults.total(),
            "events": self._system.reference.events,
            "differences": int(bool(difference)),
            "difference": difference,
            "largest_lag": self.largest_lag,
            "rows": [{"fault": name, "injected": count} for name, count in sorted(self.faults.items())],
            "growth": {watched.worker.role: watched.growth() for watched in self._watched},
        }

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - raised again by run()
            self._errors.append(error)

    def _load(self) -> None:
        """Publish at the rate that was asked for, or as the workers follow, and let the reference follow."""
        started = time.monotonic()
        items = int(ITEM_SHARE * _CHUNK)
        while not self._stop.is_set():
            self._system.publish(self._stream.items(items) + self._stream.interactions(_CHUNK - items))
            self.published += _CHUNK
            self._system.read()
            while (lag := self._system.lag(self._system.topics[1])) > _MOST_LAG and not self._stop.wait(1):
                self.largest_lag = max(self.largest_lag, lag)
            self.largest_lag = max(self.largest_lag, lag)
            ahead = self.published / self._rate - (time.monotonic() - started)
            if ahead > 0:
                self._stop.wait(ahead)

    def _break(self) -> None:
        servers = self._system.servers
        kinds: list[tuple[str, int, Callable[[], bool]]] = [
            ("a worker comes", 8, self._join),
            ("a worker leaves", 3, self._leave),
            ("kill -9 of a worker", 5, self._kill),
            ("a worker stands still beyond its session", 2, self._zombie),
            ("connections to Redis cut", 10, self._cut),
            ("Redis silent for 1 s", 4, lambda: self._silent(servers.redis_stopped(), 1)),
            ("Redis silent for 5 s", 1, lambda: self._silent(servers.redis_stopped(), 5)),
            ("Redis killed", 2, self._redis_killed),
            ("Redis out of memory", 1, self._full),
            ("broker silent for 2 s", 2, lambda: self._silent(servers.kafka_stopped(), 2)),
            ("broker killed", 1, self._kafka_killed),
        ]
        weights = [weight for _, weight, _ in kinds]
        while not self._stop.wait(self._chance.uniform(0.3, 2.0)):
            name, _, inject = self._chance.choices(kinds, weights)[0]
            if inject():
                self.faults[name] += 1

    def _others(self, role: Role) -> list[WorkerProcess]:
        survivors = [watched.worker for watched in self._watched]
        return [worker for worker in self._system.of(role) if worker not in survivors]

    def _other(self) -> WorkerProcess | None:
        found = [worker for role in ROLES for worker in self._others(role)]
        return self._chance.choice(found) if found else None

    def _join(self) -> bool:
        role = self._chance.choice(ROLES)
        if len(self._others(role)) >= _MOST_OTHERS:
            return False
        if self._chance.random() < 0.3:
            self._system.start_armed(role, SENT, self._chance.randint(20, 60), "cut")
        else:
            self._system.start(role)
        return True

    def _leave(self) -> bool:
        worker = self._other()
        if worker is not None:
            self._system.let_go(worker)
        return worker is not None

    def _kill(self) -> bool:
        worker = self._other()
        if worker is not None:
            worker.kill()
        return worker is not None

    def _zombie(self) -> bool:
        worker = self._other()
        if worker is not None:
            worker.pause()
            self._stop.wait(self._system.settings.kafka.session_timeout_ms / 1000 + 1)
            worker.resume()
        return worker is not None

    def _cut(self) -> bool:
        self._system.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        return True

    def _silent(self, stopped: AbstractContextManager[None], seconds: float) -> bool:
        with stopped:
            time.sleep(seconds)
        return True

    def _redis_killed(self) -> bool:
        self._system.servers.kill_redis()
        self._system.servers.start_redis()
        return True

    def _full(self) -> bool:
        client = self._system.client
        client.config_set("maxmemory", int(client.info("memory")["used_memory"]) // 2)
        time.sleep(1)
        client.config_set("maxmemory", 0)
        return True

    def _kafka_killed(self) -> bool:
        self._system.servers.kill_kafka()
        self._system.servers.start_kafka()
        return True


def main(
    minutes: Annotated[float, typer.Option(help="For how long.")] = 30,
    rate: Annotated[float, typer.Option(help="Events a second.")] = 6_000,
    seed: Annotated[int, typer.Option(help="Another seed, another stream and other moments.")] = 0,
    report: Annotated[Path, typer.Option("--json", help="Where to write the outcome.")] = Path("soak.json"),
) -> None:
    """Load a system and break it for a long time, and compare what is left with what must be."""
    console = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="latentstream-soak-") as home:
        version = train_world(make_world(), Path(home))
        servers, fork_server = Servers(Path(home) / "servers"), ForkServer()
        try:
            servers.start()
            large = {"events": {"batch": _BATCH}}
            system = System(servers, fork_server, Path(home), version, seed, **large)
            try:
                soak = Soak(system, rate, seed + 1)
                try:
                    soak.run(60 * minutes, console.print)
                    difference = ""
                except Exception:  # noqa: BLE001 - whatever goes wrong here is a finding
                    logs = system.keep_logs(report.with_suffix(".logs"))
                    difference = f"{traceback.format_exc()}Logs of workers and servers: {logs}\n"
                outcome = soak.report(difference)
            finally:
                system.close()
        finally:
            fork_server.close()
            servers.stop()
    report.write_text(json.dumps(outcome, indent=1) + "\n")
    failed = print_outcome(outcome)
    if failed:
        raise typer.Exit(1)


def print_outcome(outcome: dict[str, Any]) -> bool:
    """Print the outcome for people; return whether anything is not as it must be."""
    table = Table("fault", "injected")
    for row in outcome["rows"]:
        table.add_row(row["fault"], f"{row['injected']:,}")
    table.add_row("all", f"{outcome['faults']:,}")
    console = Console(file=sys.stdout, width=100, highlight=False)
    console.print(table)
    console.print(f"{outcome['events']:,} events, {outcome['differences']} differences", end="")
    console.print(f", largest lag {outcome['largest_lag']:,}")
    grown = False
    for role, growth in outcome["growth"].items():
        console.print(f"{role}: " + ", ".join(f"{name} {share:+.1%}" for name, share in growth.items()))
        grown |= any(share > GROWTH for share in growth.values())
    if outcome["difference"]:
        console.print(outcome["difference"], markup=False)
    return grown or bool(outcome["differences"])


if __name__ == "__main__":
    typer.run(main)
