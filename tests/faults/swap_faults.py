"""What happens while another model takes the place of the current one. Each returns how many faults it was."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Final, Literal

from tests.faults.points import ROLES, Role
from tests.faults.system import Difference, System
from tests.processes import WorkerProcess

_ITEMS: Final = 60
_INTERACTIONS: Final = 400
_REACHED_WITHIN_S: Final = 60.0


def kill_at(system: System, chance: random.Random, versions: Sequence[str], role: Role, point: str) -> int:  # noqa: ARG001
    """A model is promoted, and the only worker of a role is killed at a step of what follows."""
    worker = _promote_armed(system, versions, role, point, "kill")
    if not system.load_until(_ITEMS, _INTERACTIONS, lambda: not worker.is_running(), _REACHED_WITHIN_S):
        raise Difference(f"{role} has not come to {point!r}:\n{worker.log()[-3000:]}")
    return 1


def fail_at(system: System, chance: random.Random, versions: Sequence[str], role: Role, point: str) -> int:  # noqa: ARG001
    """A model is promoted, and at a step of what follows Redis does not answer the only worker of a role."""
    _, other = _current_and_other(system, versions)
    worker = _promote_armed(system, versions, role, point, "fail")

    def done() -> bool:
        return '"a fault"' in worker.log() and worker.metric("latentstream_model_info", version=other) == 1

    if not system.load_until(_ITEMS, _INTERACTIONS, done, _REACHED_WITHIN_S):
        raise Difference(f"{role} does not serve {other} after {point!r} failed:\n{worker.log()[-3000:]}")
    return 1


def _promote_armed(
    system: System, versions: Sequence[str], role: Role, point: str, action: Literal["kill", "fail"]
) -> WorkerProcess:
    current, other = _current_and_other(system, versions)
    worker = system.start_armed(role, point, 1, action)
    system.retire(role, but=worker)
    for one in ROLES:
        if not system.of(one):
            system.start(one)
    served = "the current model serves before another is promoted"
    system.wait(lambda: worker.metric("latentstream_model_info", version=current) == 1, served)
    worker.wait_ready()
    system.promote(other)
    return worker


def back_and_forth(system: System, chance: random.Random, versions: Sequence[str]) -> int:
    """A model is promoted, and at any moment of what follows the one before again, and a worker is killed."""
    system.ensure()
    _, other = _current_and_other(system, versions)
    before = system.reference.bundle.version
    for version in (other, before):
        system.promote(version)
        system.load(_ITEMS, _INTERACTIONS)
        time.sleep(chance.uniform(0, 4))
    chance.choice(system.of(chance.choice(ROLES))).kill()
    return 1


def _current_and_other(system: System, versions: Sequence[str]) -> tuple[str, str]:
    current = system.reference.bundle.version
    (other,) = set(versions) - {current}
    return current, other
