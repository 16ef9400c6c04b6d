"""An experiment: two model versions side by side, and who is served by which.

It stands in one hash, ``PREFIX:experiment``, so that anybody can start one by hand and anybody can tell a user's arm.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Self

ArmName = Literal["control", "challenger"]
ARMS: Final[tuple[ArmName, ArmName]] = ("control", "challenger")
NAME: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
# What is counted is kept for so many groups of users: enough for an interval, few enough to cost nothing.
GROUPS: Final = 128
_HALF: Final = 1 << 32


class BadExperiment(ValueError):  # noqa: N818 - named after what is wrong, like all errors here
    """What stands in Redis is no experiment; the message says why."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """A share of the users gets the lists of ``challenger``, all others those of ``control``, the current model.

    As a ``shadow`` the challenger only makes lists for that share, which nobody gets: both models are compared on the
    same users.

    ``name`` goes into the hash that divides the users: experiments of other names divide them otherwise. ``live_at``
    is when the challenger had encoded all items and the first lists could be made, empty before.
    """

    name: str
    control: str
    challenger: str
    share: float
    started_at: str = ""
    started_by: str = ""
    live_at: str = field(default="", compare=False)
    shadow: bool = False

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise BadExperiment(f"the name {self.name!r} must be 1 to 64 letters, digits, '_', '.' or '-'")
        if not (0 < self.share < 1 or (self.shadow and self.share == 1)):
            raise BadExperiment(f"the share must lie between 0 and 1, not {self.share:g}")
        if not self.control or not self.challenger or self.control == self.challenger:
            raise BadExperiment("control and challenger must be two model versions")

    @classmethod
    def read(cls, fields: Mapping[bytes, bytes]) -> Self | None:
        """Return the experiment in the fields of its hash, None where there is none.

        Raises:
            BadExperiment: a field is missing or not what it should be.
        """
        if not fields:
            return None
        found = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in fields.items()}
        missing = [name for name in ("name", "control", "challenger", "share") if name not in found]
        if missing:
            raise BadExperiment(f"fields are missing: {', '.join(missing)}")
        try:
            share = float(found["share"])
        except ValueError as error:
            raise BadExperiment(f"the share is not a number: {found['share']!r}") from error
        return cls(
            found["name"],
            found["control"],
            found["challenger"],
            share,
            found.get("started_at", ""),
            found.get("started_by", ""),
            found.get("live_at", ""),
            found.get("shadow", "") == "1",
        )

    def fields(self) -> dict[str, str]:
        """Return the fields of its hash."""
        return {
            "name": self.name,
            "control": self.control,
            "challenger": self.challenger,
            "share": repr(self.share),
            "started_at": self.started_at,
            "started_by": self.started_by,
        } | ({"shadow": "1"} if self.shadow else {})

    def version(self, arm: ArmName) -> str:
        """Return the model version that serves an arm."""
        return self.challenger if arm == "challenger" else self.control

    def arm(self, user_id: str) -> ArmName:
        """Return who serves a user: the challenger where the first half of the hash lies below the share."""
        return "challenger" if not self.shadow and self._in_share(user_id) else "control"

    def is_shadowed(self, user_id: str) -> bool:
        """Return whether the challenger makes lists for a user that nobody gets."""
        return self.shadow and self._in_share(user_id)

    def counted_for(self, user_id: str, model: str) -> ArmName | None:
        """Return the arm that a list of ``model`` counts for, None where it says nothing of either."""
        arm = next((arm for arm in ARMS if self.version(arm) == model), None)
        counts = self.is_shadowed(user_id) if self.shadow else arm == self.arm(user_id)
        return arm if counts else None

    def group(self, user_id: str) -> int:
        """Return the group in [0, GROUPS) that a user is counted in, by the other half: independent of the arm."""
        return self._hash(user_id) % GROUPS

    def _in_share(self, user_id: str) -> bool:
        return self._hash(user_id) >> 32 < self.share * _HALF

    def _hash(self, user_id: str) -> int:
        # Eight bytes of BLAKE2b of "NAME:USER"; a name has no colon.
        return int.from_bytes(hashlib.blake2b(f"{self.name}:{user_id}".encode(), digest_size=8).digest())
