"""What happens to workers: killed, stopped, asked to end, joined by others. Each returns how many faults it was."""

from __future__ import annotations

import random
import time
from typing import Final

from tests.faults.points import SENT, Role
from tests.faults.system import Difference, System
from tests.processes import WorkerProcess

# Enough events for some batches, so that the hit of a point is not always in the first.
_ITEMS: Final = 60
_INTERACTIONS: Final = 400
_KILLED: Final = -9
# What Kubernetes gives a worker by default.
GRACE_S: Final = 30.0
_REACHED_WITHIN_S: Final = 60.0


def kill_at(system: System, chance: random.Random, role: Role, point: str) -> int:
    """``kill -9`` of the only worker of a role at a named point."""
    worker = system.start_armed(role, point, chance.randint(1, 3), "kill")
    system.retire(role, but=worker)
    if system.load_until(_ITEMS, _INTERACTIONS, lambda: not worker.is_running(), _REACHED_WITHIN_S):
        status = worker.wait(1)
        if status != _KILLED:
            raise Difference(f"{role} ended with {status} before {point!r}:\n{worker.log()[-3000:]}")
        return 1
    raise Difference(f"{role} has not come to {point!r}:\n{worker.log()[-3000:]}")


def kill_at_random(system: System, chance: random.Random, role: Role) -> int:
    """``kill -9`` at any moment, while events come."""
    if not system.of(role):
        system.start(role)
    system.load(2 * _ITEMS, 3 * _INTERACTIONS)
    time.sleep(chance.uniform(0, 1.5))
    chance.choice(system.of(role)).kill()
    system.start(role)
    return 1


def term_at(system: System, chance: random.Random, role: Role, point: str) -> int:
    """SIGTERM in the middle of a batch: it is finished within the grace period, and nothing is repeated."""
    worker = system.start_armed(role, point, chance.randint(1, 3), "term")
    system.retire(role, but=worker)
    system.load_until(_ITEMS, _INTERACTIONS, lambda: not worker.is_running(), _REACHED_WITHIN_S)
    status = worker.wait(GRACE_S)
    if status != 0:
        raise Difference(f"{role} ended with {status} on SIGTERM at {point!r}:\n{worker.log()[-3000:]}")
    # Whoever comes next begins where this one ended, which Kafka knows as well.
    topic = system.topics[role == "recommender"]
    committed = system.committed(role)
    stored = {partition: system.position(topic, partition) for partition in committed}
    if committed != stored:
        raise Difference(f"{role} left the offsets {committed} to Kafka, and in Redis are {stored}")
    return 1


def zombie(system: System, chance: random.Random, role: Role, point: str) -> int:
    """A worker stands still before a write until another has its partitions, and goes on: it is refused."""
    worker = system.start_armed(role, point, 2, "stop")
    system.retire(role, but=worker)
    if not system.load_until(_ITEMS, _INTERACTIONS, worker.is_stopped, _REACHED_WITHIN_S):
        raise Difference(f"{role} has not come to {point!r}:\n{worker.log()[-3000:]}")
    heir = system.start(role)
    topic = system.topics[role == "recommender"]
    system.wait(lambda: system.lag(topic) == 0, f"the partitions of a stopped {role} have a new owner")
    worker.resume()
    system.wait(lambda: worker.metric("latentstream_refused_writes_total") >= 1, "the write of a zombie is refused")
    system.retire(role, but=chance.choice([worker, heir]))
    return 1


def join_or_leave(system: System, chance: random.Random, role: Role) -> int:
    """One of up to three workers comes or goes, some by ``kill -9``, while events come."""
    running = system.of(role)
    system.load(_ITEMS, _INTERACTIONS)
    if len(running) < 2 or (len(running) < 3 and chance.random() < 0.6):
        system.start(role)
    else:
        leaver = chance.choice(running)
        if chance.random() < 0.3:
            leaver.kill()
        else:
            system.let_go(leaver)
    time.sleep(chance.uniform(0, 1.0))
    return 1


def lose_answers(system: System, chance: random.Random, role: Role) -> int:
    """The connection to Redis breaks when a commit is on its way: it is done, and the worker does not know."""
    worker = system.start_armed(role, SENT, chance.randint(3, 5), "cut")
    system.retire(role, but=worker)
    system.load_until(_ITEMS, _INTERACTIONS, lambda: _refused(worker) >= 5, _REACHED_WITHIN_S)
    lost = _refused(worker)
    if not lost:
        raise Difference(f"no answer to the {role} was lost:\n{worker.log()[-3000:]}")
    system.let_go(worker)
    return lost


def _refused(worker: WorkerProcess) -> int:
    return worker.log().count('"write_refused"')
