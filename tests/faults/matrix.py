"""The faults, how often each is injected, and the run: after some of one kind all is compared with the reference."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from rich.console import Console
from rich.table import Table

from schemas.events import ItemEvent
from tests.e2e.conftest import train_world
from tests.e2e.world import make_world
from tests.faults import server_faults, swap_faults, topic_faults, worker_faults
from tests.faults.points import POINTS, ROLES, SENT, SWAP_FAILURES, SWAP_POINTS, Role
from tests.faults.servers import Servers
from tests.faults.system import System
from tests.fork_server import ForkServer

Inject = Callable[[System, random.Random], int]
# workers: only the workers of one system are touched, so that several systems run side by side. servers: everybody is
# hit. own: the system is not what it was before, and has to go.
Scope = Literal["workers", "servers", "own"]
_COOPERATIVE: Final = {"kafka": {"assignment": "cooperative"}}
_SETTLED_EVERY: Final = 5
_LANES: Final = 3


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault: how often in the whole matrix and in the short one."""

    name: str
    inject: Inject
    full: int
    short: int = 1
    scope: Scope = "workers"
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(slots=True)
class Row:
    """What came of one kind."""

    fault: str
    injected: int = 0
    events: int = 0
    differences: int = 0


def faults(versions: Sequence[str], other_shape: str) -> list[Fault]:
    """Return the matrix; ``versions`` are two models for the items, ``other_shape`` one for those of another shape."""
    found: list[Fault] = []
    for role in ROLES:
        found += _worker_faults(role)
    found += [
        Fault("broker killed", server_faults.kafka_killed, 10, scope="servers"),
        Fault("broker silent for 5 s", partial(server_faults.kafka_unreachable, seconds=5), 5, scope="servers"),
        Fault("broker silent for 60 s", partial(server_faults.kafka_unreachable, seconds=60), 2, 0, scope="servers"),
        Fault("Redis killed", server_faults.redis_killed, 20, scope="servers"),
        Fault("Redis restored to an older state", server_faults.redis_restored, 20, scope="servers"),
        Fault("Redis silent for 1 s", partial(server_faults.redis_slow, seconds=1), 20, scope="servers"),
        Fault("Redis silent for 10 s", partial(server_faults.redis_slow, seconds=10), 5, scope="servers"),
        Fault("connections to Redis cut", server_faults.redis_cut, 50, scope="servers"),
        Fault("Redis out of memory", server_faults.redis_full, 10, scope="servers"),
        Fault("topic of dead letters gone", server_faults.letters_impossible, 5, scope="servers"),
        Fault("topic truncated", topic_faults.truncated, 4, scope="own"),
        Fault("topic truncated under a worker", topic_faults.truncated_under_a_worker, 4, scope="own"),
    ]
    for role in ROLES:
        found.append(Fault(f"topic made anew, {role}", partial(topic_faults.made_anew, role=role), 4, scope="own"))
        added = partial(topic_faults.partitions_added, role=role)
        found.append(Fault(f"partition added, {role}", added, 2, scope="own"))
    for how in ("checksum", "truncated", "missing", "shape"):
        inject = partial(topic_faults.poisoned, how=how, other=other_shape)
        found.append(Fault(f"poisoned model: {how}", inject, 5, scope="workers"))
    for role in ROLES:
        for point in SWAP_POINTS[role]:
            inject = partial(swap_faults.kill_at, versions=versions, role=role, point=point)
            found.append(Fault(f"kill -9 in a swap, {role}: {point}", inject, 10))
        for point in SWAP_FAILURES[role]:
            inject = partial(swap_faults.fail_at, versions=versions, role=role, point=point)
            found.append(Fault(f"Redis silent in a swap, {role}: {point}", inject, 10))
    found.append(Fault("back and forth between models", partial(swap_faults.back_and_forth, versions=versions), 20))
    return found


def _worker_faults(role: Role) -> list[Fault]:
    """Return what happens to workers of one role."""

    def at(inject: Callable[..., int], **options: Any) -> Inject:
        return partial(inject, role=role, **options)

    kills = [Fault(f"kill -9, {role}: {point}", at(worker_faults.kill_at, point=point), 20) for point in POINTS[role]]
    kills.append(Fault(f"kill -9, {role}: random moment", at(worker_faults.kill_at_random), 50))
    worked = {"encoder": "encoded", "recommender": "ranked"}[role]
    ends = [
        Fault(f"SIGTERM, {role}: {point}", at(worker_faults.term_at, point=point), 10)
        for point in (worked, "commit ready", SENT)
    ]
    zombies = [
        Fault(f"zombie {role}: {point}", at(worker_faults.zombie, point=point), 5) for point in (worked, "commit ready")
    ]
    joins = [
        Fault(f"{role}s come and go, {name}", at(worker_faults.join_or_leave), 30, changes=changes)
        for name, changes in (("eager", {}), ("cooperative", _COOPERATIVE))
    ]
    return [
        *kills,
        *ends,
        *zombies,
        *joins,
        Fault(f"answers to commits lost, {role}", at(worker_faults.lose_answers), 5),
    ]


class Matrix:
    """A run of faults under servers of its own."""

    def __init__(self, home: Path, seed: int, logs: Path) -> None:
        # Where the logs of a system with differences are kept.
        self.logs = logs
        self._home = home
        self._seed = seed
        self._lock = threading.Lock()
        self._servers = Servers(home / "servers")
        self._fork_server = ForkServer()
        self._console = Console(stderr=True, highlight=False)
        world = make_world()
        home.mkdir(exist_ok=True)
        self._version = train_world(world, home)
        self._versions = self._version, train_world(world, home, seed=1)
        self._other_shape = train_world(replace(world, items=[_wider(item) for item in world.items]), home)
        self.rows: dict[str, Row] = {}
        self._servers.start()

    def close(self) -> None:
        """End everything that was started."""
        self._fork_server.close()
        self._servers.stop()

    def run(self, *, short: bool, together: int, only: str = "") -> None:
        """Inject all kinds that have ``only`` in their name, then so many of all kinds in random order."""
        chosen = [fault for fault in faults(self._versions, self._other_shape) if only in fault.name]
        for fault in chosen:
            self.rows[fault.name] = Row(fault.name)
        side_by_side: list[tuple[Fault, int]] = []
        alone: list[tuple[Fault, int]] = []
        for fault in chosen:
            times = fault.short if short else fault.full
            each = 1 if fault.scope == "own" else _SETTLED_EVERY
            for start in range(0, times, each):
                task = fault, min(each, times - start)
                (alone if fault.scope == "servers" else side_by_side).append(task)
        random.Random(self._seed).shuffle(side_by_side)
        lanes = [_Lane(self, number) for number in range(_LANES)]
        tasks = iter(side_by_side)
        with ThreadPoolExecutor(_LANES) as pool:
            for done in [pool.submit(lane.take, tasks) for lane in lanes]:
                done.result()
        for lane in lanes:
            lane.close()
        lane = _Lane(self, _LANES)
        for task in alone:
            lane.do(*task)
        if together:
            self._together(lane, [fault for fault in chosen if fault.scope != "own"], together)
        lane.close()

    def _together(self, lane: _Lane, chosen: Sequence[Fault], count: int) -> None:
        """One kind after the other in random order on one system, compared after every few."""
        chance = random.Random(self._seed)
        row = self.rows["all in random order"] = Row("all in random order")
        kinds = [fault for fault in chosen if not fault.changes and "60 s" not in fault.name]
        for start in range(0, count, _SETTLED_EVERY):
            picked = [chance.choice(kinds) for _ in range(min(_SETTLED_EVERY, count - start))]
            lane.inject(row, [fault.inject for fault in picked], {}, ", ".join(fault.name for fault in picked))

    def system(self, seed: int, changes: dict[str, dict[str, Any]]) -> System:
        """Return a new system."""
        return System(self._servers, self._fork_server, self._home, self._version, self._seed + seed, **changes)

    def count(self, row: Row, injected: int, events: int, difference: str, what: str, seconds: float) -> None:
        """Note what came of some faults."""
        with self._lock:
            row.injected += injected
            row.events += events
            row.differences += bool(difference)
            verdict = f"DIFFERENT\n{difference}" if difference else "equal"
            self._console.print(f"{seconds:6.1f} s  {injected:3d} x {what}: {verdict}", soft_wrap=True, markup=False)

    def report(self) -> dict[str, Any]:
        """Return the outcome, as ``faults.json`` has it."""
        rows = [
            {"fault": row.fault, "injected": row.injected, "events": row.events, "differences": row.differences}
            for row in self.rows.values()
        ]
        sums: dict[str, Any] = {name: sum(row[name] for row in rows) for name in ("injected", "events", "differences")}
        return {"faults": sums["injected"], "events": sums["events"], "differences": sums["differences"], "rows": rows}


class _Lane:
    """Takes one task after the other, on a system for each set of settings."""

    def __init__(self, matrix: Matrix, number: int) -> None:
        self._matrix = matrix
        self._seed = 1_000 * number
        self._systems: dict[str, System] = {}

    def take(self, tasks: Any) -> None:
        """Do tasks until there are no more."""
        while True:
            with self._matrix._lock:
                task = next(tasks, None)
            if task is None:
                return
            self.do(*task)

    def do(self, fault: Fault, times: int) -> None:
        """Inject a fault so many times, and compare."""
        self.inject(self._matrix.rows[fault.name], [fault.inject] * times, fault.changes, fault.name)
        if fault.scope == "own":
            self._drop(fault.changes)

    def inject(self, row: Row, injections: Sequence[Inject], changes: dict[str, dict[str, Any]], what: str) -> None:
        """Inject, compare, and note what came of it; a system that is different is given up."""
        key = json.dumps(changes)
        self._seed += 1
        chance = random.Random(self._seed)
        started, injected, events, difference = time.monotonic(), 0, 0, ""
        try:
            if key not in self._systems:
                self._systems[key] = self._matrix.system(self._seed, changes)
            system = self._systems[key]
            events = -system.reference.events
            for one in injections:
                injected += one(system, chance)
            system.settle()
            events += system.reference.events
        except Exception:  # noqa: BLE001 - whatever goes wrong here is a finding
            difference, events = traceback.format_exc(), max(events, 0)
            if key in self._systems:
                difference += f"Logs of workers and servers: {self._systems[key].keep_logs(self._matrix.logs)}\n"
            self._drop(changes)
        self._matrix.count(row, injected, events, difference, what, time.monotonic() - started)

    def close(self) -> None:
        """End all systems."""
        for key in list(self._systems):
            self._systems.pop(key).close()

    def _drop(self, changes: dict[str, dict[str, Any]]) -> None:
        system = self._systems.pop(json.dumps(changes), None)
        if system is not None:
            system.close()


def _wider(item: ItemEvent) -> ItemEvent:
    assert isinstance(item.features, list)
    return msgspec.structs.replace(item, features=[*item.features, sum(item.features)])


def print_table(report: dict[str, Any]) -> None:
    """Print the outcome for people."""
    table = Table("fault", *(name for name in ("injected", "events", "differences")))
    for column in table.columns[1:]:
        column.justify = "right"
    for row in [*report["rows"], {"fault": "all", "injected": report["faults"]} | report]:
        table.add_row(row["fault"] or "", *(f"{row[name]:,}" for name in ("injected", "events", "differences")))
    Console(file=sys.stdout, width=100).print(table)
