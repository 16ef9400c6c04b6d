"""What a training is of, on disk, so that one that was interrupted reads the same events when it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import msgspec

from schemas.settings import Settings
from workers.training import Offsets


class Plan(msgspec.Struct, frozen=True):
    """One training: why, up to which offsets, against which current model (empty: none), under which settings."""

    reason: str
    version_prefix: str
    offsets: Offsets
    champion: str
    settings: str

    @classmethod
    def new(cls, reason: str, version_prefix: str, offsets: Offsets, champion: str, settings: Settings) -> Self:
        """Return a plan for now."""
        return cls(reason, version_prefix, offsets, champion, _chosen(settings))

    def fits(self, champion: str, settings: Settings) -> bool:
        """Return whether it is still what would be trained."""
        return (self.champion, self.settings) == (champion, _chosen(settings))


class PlanFile:
    """Where the plan of an unfinished training is kept."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Plan | None:
        """Return the plan; None where there is none, or what is there is damaged."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Plan)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def save(self, plan: Plan) -> None:
        """Keep ``plan``; a crash leaves all of it or nothing."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        partial.write_bytes(msgspec.json.encode(plan))
        partial.replace(self._path)

    def remove(self) -> None:
        """Forget it: the training is over."""
        self._path.unlink(missing_ok=True)


def _chosen(settings: Settings) -> str:
    return msgspec.json.encode(
        [settings.model.model_dump(exclude={"registry"}), settings.trainer.model_dump(exclude={"interval_s"})]
    ).decode()
