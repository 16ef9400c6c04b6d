"""Comparing what comes in with what the model was trained on: metrics, and a key that asks for a new training.

Only events after those of the training are compared, because a new model or prefix reads the topics from their
beginning. A worker sees some of the partitions, which are alike.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Final, Literal

import numpy as np
import redis
import structlog

from models.arrays import Doubles, Ints
from models.bundle import Bundle
from models.content import Encoded
from models.drift import Window
from schemas.keys import Keys
from schemas.settings import Settings
from workers import metrics
from workers.decoding import Decoded, ItemChange
from workers.last_training import read_last
from workers.source import Owned

log = structlog.get_logger()

# Of a batch of items: a sample says as much.
SAMPLE: Final = 256
ERROR: Final = "reconstruction_error"
LATENT: Final = "latent"
POPULARITY: Final = "popularity"


class Drift:
    """What one worker observed lately under one model; nothing where the model has no snapshot."""

    def __init__(self, settings: Settings, client: redis.Redis, model: Bundle, topic: str) -> None:
        self._settings = settings.drift
        self._redis = client
        self._keys = Keys(settings.redis.prefix)
        self._version = model.version
        self._trained_to = model.manifest.offsets.get(topic, {})
        self._windows: dict[str, Window] = {}
        # How much a window has observed when it may ask next.
        self._patience: dict[str, int] = {}
        metrics.DRIFT.clear()
        metrics.TRAINED.clear()

    def _is_new(self, partition: int, following: int) -> bool:
        """Return whether a batch ends after the training did."""
        return following > self._trained_to.get(partition, 0)

    def _add(self, name: str, expected: Doubles, counts: Ints) -> None:
        if name not in self._windows:
            self._windows[name] = Window(expected, self._settings.events)
        self._windows[name].add(counts)

    def _publish(self, owned: Collection[Owned], of: Literal["items", "users"]) -> None:
        metrics.STORED.labels(of).set(sum(partition.position.ids for partition in owned))
        for name, window in self._windows.items():
            index = window.index
            metrics.DRIFT.labels(self._version, name).set(index)
            # Smaller errors are none, as where items of the training are published again.
            if index > self._settings.threshold and (window.risen or name != ERROR):
                self._ask(name, index, window.observed)

    def _ask(self, name: str, index: float, observed: int) -> None:
        """Ask for a training; again after as many events, because one may have failed, but not soon after one."""
        if observed < self._patience.get(name, self._settings.events):
            return
        self._patience[name] = observed + self._settings.events
        last = read_last(self._redis, self._keys)
        if last is not None and time.time() - last.ended_at < self._settings.wait_s:
            return
        reason = (
            f"{name} has a stability index of {index:.2f} over {self._settings.threshold:g} against the training of "
            f"{self._version}, after {observed} events"
        )
        if self._redis.set(self._keys.training_due, reason, nx=True):
            log.warning("training_due", reason=reason)


class ItemDrift(Drift):
    """Reconstruction errors and latents of items."""

    def __init__(self, settings: Settings, client: redis.Redis, model: Bundle) -> None:
        super().__init__(settings, client, model, settings.kafka.items_topic)
        self._content = model.content
        self._snapshot = model.snapshot
        if model.snapshot is not None:
            metrics.TRAINED.labels(model.version, "items").set(model.snapshot.items)

    def observe(
        self,
        parts: Sequence[Decoded[ItemChange]],
        latest: Sequence[Sequence[ItemChange]],
        rows: Sequence[int],
        encoded: Encoded | None,
    ) -> None:
        """Add a batch: ``encoded`` are the ``rows`` of all ``latest`` changes of the partitions."""
        if encoded is None or self._snapshot is None or self._content is None:
            return
        new = [self._is_new(part.owned.partition, part.following) for part in parts]
        chosen = np.flatnonzero(np.repeat(new, [len(changes) for changes in latest])[rows])
        if not len(chosen):
            return
        chosen = chosen[:: -(-len(chosen) // SAMPLE)]
        if (errors := self._snapshot.errors) is not None:
            self._add(ERROR, errors.expected, errors.count(encoded.errors[chosen, None]))
        if (latents := self._snapshot.latents) is not None:
            found = self._content.latents(encoded.codes[chosen])
            self._add(LATENT, latents.bins.expected, latents.count(found))

    def publish(self, owned: Collection[Owned]) -> None:
        """Publish the metrics, with the number of items in the partitions ``owned``."""
        self._publish(owned, "items")


class InteractionDrift(Drift):
    """How popular the items are that users touch for the first time."""

    def __init__(self, settings: Settings, client: redis.Redis, model: Bundle) -> None:
        super().__init__(settings, client, model, settings.kafka.interactions_topic)
        self._vocabulary = model.space.vocabulary
        self._popularity = model.snapshot.popularity if model.snapshot is not None else None
        if model.snapshot is not None:
            metrics.TRAINED.labels(model.version, "users").set(model.snapshot.users)

    def observe(self, partition: int, following: int, item_ids: Sequence[str]) -> None:
        """Add first contacts of a partition's batch that ends before the offset ``following``."""
        if self._popularity is not None and item_ids and self._is_new(partition, following):
            counts = self._popularity.count(self._vocabulary, item_ids)
            self._add(POPULARITY, self._popularity.expected, counts)

    def publish(self, owned: Collection[Owned]) -> None:
        """Publish the metrics, with the number of users in the partitions ``owned``."""
        self._publish(owned, "users")
