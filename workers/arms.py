"""Who serves whom: the current model alone, or two models side by side while an experiment runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import redis

from models.bundle import Bundle
from schemas.experiments import ARMS, ArmName, Experiment
from schemas.keys import Keys
from workers.catalogue import Catalogue
from workers.lists import FinishedLists
from workers.profiles import Profile
from workers.quality import Coverage
from workers.ranking import Ranker


@dataclass(frozen=True, slots=True)
class Arm:
    """One model, the items as it sees them, and the lists that it makes."""

    name: ArmName
    bundle: Bundle
    catalogue: Catalogue
    ranker: Ranker
    lists: FinishedLists
    coverage: Coverage

    @classmethod
    def of(
        cls,
        name: ArmName,
        bundle: Bundle,
        catalogue: Catalogue,
        client: redis.Redis,
        keys: Keys,
        profiles: Sequence[Profile],
    ) -> Self:
        """Return the arm of a model over ``catalogue``."""
        return cls(
            name,
            bundle,
            catalogue,
            Ranker(bundle, catalogue),
            FinishedLists(client, keys, bundle.version, catalogue, profiles),
            Coverage(catalogue, bundle.version, [profile.name for profile in profiles]),
        )

    @property
    def version(self) -> str:
        """The model version."""
        return self.bundle.version

    @property
    def seeded(self) -> bool:
        """Whether only a new model brings new items; see :class:`models.space.LatentSpace`."""
        return self.bundle.space.seeded


class Arms:
    """The arm of each user. With an experiment there are two arms, in the order of its versions.

    The second one may be a shadow, which is the arm of nobody.
    """

    def __init__(self, arms: Sequence[Arm], experiment: Experiment | None = None) -> None:
        names = ARMS if experiment is not None else ARMS[:1]
        if tuple(arm.name for arm in arms) != names:
            raise ValueError(f"the arms must be {', '.join(names)}")
        self._arms = dict(zip(names, arms, strict=True))
        self.experiment = experiment

    @property
    def control(self) -> Arm:
        """The current model, which also answers what belongs to no user."""
        return self._arms["control"]

    @property
    def shadow(self) -> Arm | None:
        """The model that makes lists which nobody gets, if there is one."""
        return self._arms["challenger"] if self.experiment is not None and self.experiment.shadow else None

    def shadowed(self, users: Iterable[str]) -> list[str]:
        """Return those of ``users`` for whom it does so."""
        experiment = self.experiment
        return [user for user in users if experiment.is_shadowed(user)] if experiment is not None else []

    def __iter__(self) -> Iterator[Arm]:
        """Yield each arm."""
        return iter(self._arms.values())

    def of(self, user: str) -> Arm:
        """Return who serves ``user``."""
        return self._arms["control" if self.experiment is None else self.experiment.arm(user)]

    def divided(self, users: Iterable[str]) -> list[tuple[Arm, list[str]]]:
        """Return the ``users`` of each arm that has any, in their order."""
        by_arm: dict[ArmName, list[str]] = {name: [] for name in self._arms}
        for user in users:
            by_arm[self.of(user).name].append(user)
        return [(self._arms[name], own) for name, own in by_arm.items() if own]
