"""What a recommender serves with, and how the next of it is made ready beside it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import redis

from models.index_fast import MEASURED_QUERIES
from schemas.experiments import ARMS, Experiment
from schemas.keys import Keys
from schemas.settings import Settings
from workers import metrics
from workers.arms import Arm, Arms
from workers.background import Background
from workers.catalogue import Catalogue
from workers.follower import Follower
from workers.histories import weighted
from workers.item_ids import ItemIds
from workers.lookup import some_histories
from workers.model_watch import Models
from workers.profiles import all_profiles
from workers.versions import trained_at

_LOOK_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to serve with: the current model, and the challenger of an experiment against it."""

    version: str
    experiment: Experiment | None = None

    @property
    def versions(self) -> list[str]:
        """The version of each arm."""
        return [self.version, *([self.experiment.challenger] if self.experiment is not None else [])]


@dataclass(frozen=True, slots=True)
class Serving:
    """The models, and what keeps the items of each current."""

    target: Target
    arms: Arms
    followers: dict[str, Follower]

    def arm(self, version: str) -> Arm | None:
        """Return the arm of a version, None where it is not among them."""
        return next((arm for arm in self.arms if arm.version == version), None)

    def check(self) -> None:
        """Raise what has ended a follower."""
        for follower in self.followers.values():
            follower.check()

    def close(self, keep: Serving | None = None) -> None:
        """Let go of all models but those of ``keep``."""
        kept = set(keep.target.versions) if keep is not None else set()
        for arm in self.arms:
            if arm.version not in kept:
                self.followers[arm.version].close()
                arm.catalogue.close()
                forget_metrics(arm.version)


class Preparation(Background):
    """Loads models, codes and indexes on a thread of its own, for a share of the time while others serve.

    Args:
        running: what serves meanwhile; models that are in it as well are taken over.
        partitions: of the items, and of the interactions.
    """

    def __init__(
        self,
        settings: Settings,
        client: redis.Redis,
        models: Models,
        target: Target,
        running: Serving | None,
        partitions: tuple[int, int],
    ) -> None:
        super().__init__("preparation")
        self._settings = settings
        self._redis = client
        self._models = models
        self._running = running
        self._partitions, self._interactions = partitions
        self._made: list[tuple[Arm, Follower]] = []
        self._ready = threading.Event()
        self.target = target
        self.state = "loading the model"

    def loop(self) -> None:
        """Make everything ready, and end."""
        arms, followers = [], {}
        for name, version in zip(ARMS, self.target.versions, strict=False):
            known = self._running.arm(version) if self._running is not None else None
            if known is not None and self._running is not None:
                arm, follower = replace(known, name=name), self._running.followers[version]
            else:
                arm, follower = self._make(version)
                arm = replace(arm, name=name)
            arms.append(arm)
            followers[version] = follower
        self.state = "loading the codes"
        # Until the index is built, the partitions and the queries are better with whoever has one.
        while not self.stopping.wait(_LOOK_S):
            if all(follower.loaded.is_set() for follower in followers.values()):
                self.state = "building the index"
                if all(arm.catalogue.built for arm in arms):
                    break
        self.serving = Serving(self.target, Arms(arms, self.target.experiment), followers)
        for arm in arms:
            say_index(arm, followers[arm.version])
        self._ready.set()

    def check(self) -> None:
        """See the base class; also what has ended a follower that was started."""
        super().check()
        for _, follower in list(self._made):
            follower.check()

    @property
    def ready(self) -> Serving | None:
        """What was made, None before that."""
        return self.serving if self._ready.is_set() and not self.stopping.is_set() else None

    def abandon(self) -> None:
        """Let go of what was made: it is not needed after all. Nobody waits for a model that is just being loaded."""
        self.stopping.set()
        threading.Thread(target=self._let_go, name="abandon", daemon=True).start()

    def _let_go(self) -> None:
        self._thread.join()
        for arm, follower in self._made:
            follower.close()
            arm.catalogue.close()
            forget_metrics(arm.version)

    def _make(self, version: str) -> tuple[Arm, Follower]:
        bundle, keys = self._models.load(version), Keys(self._settings.redis.prefix)
        catalogue = Catalogue(bundle, self._shared_ids())
        arm = Arm.of("control", bundle, catalogue, self._redis, keys, all_profiles(self._settings.recommend))
        share = 1.0 if self._running is None else self._settings.swap.share
        client, partitions = self._redis, self._interactions

        def expect() -> None:
            # The follower outlives this preparation: it must not keep what serves now.
            stored = some_histories(client, keys, partitions, MEASURED_QUERIES)
            catalogue.expect([weighted(history) for history in stored])

        follower = Follower(self._redis, keys, version, self._partitions, catalogue, share, expect)
        self._made.append((arm, follower))
        follower.start()
        return arm, follower

    def _shared_ids(self) -> ItemIds | None:
        """Return the ids of what serves, unless most of them are of items that have gone."""
        if self._running is None:
            return None
        catalogue = self._running.arms.control.catalogue
        return catalogue.item_ids if 2 * len(catalogue.retrieval) >= len(catalogue.item_ids) else None


def say_models(versions: Iterable[str]) -> None:
    """Let the metrics name the models in use, and say how old they are."""
    metrics.MODEL.clear()
    metrics.MODEL_TRAINED.clear()
    for version in versions:
        metrics.MODEL.labels(version).set(1)
        if (trained := trained_at(version)) is not None:
            metrics.MODEL_TRAINED.labels(version).set(trained)


def say_index(arm: Arm, follower: Follower) -> None:
    """Let the metrics follow the index of a model that serves, or is about to."""
    index = arm.catalogue.retrieval
    metrics.INDEX_TOMBSTONES.labels(arm.version).set_function(lambda: index.tombstones)
    metrics.INDEX_AGE_SECONDS.labels(arm.version).set_function(follower.age_s)


def forget_metrics(version: str) -> None:
    """Drop the figures of a model that is not used any more."""
    for gauge in (
        metrics.INDEX_ITEMS,
        metrics.INDEX_TOMBSTONES,
        metrics.INDEX_AGE_SECONDS,
        metrics.INDEX_RECALL,
        metrics.INDEX_OFFSET,
        metrics.COVERAGE,
    ):
        gauge.remove_by_labels({"model": version})
