"""Which models a worker runs: the current one, and the challenger of an experiment. Both are pointers in Redis."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Final

import redis
import structlog

from models.bundle import Bundle, BundleError, Manifest
from models.registry import Registry
from schemas.experiments import BadExperiment, Experiment
from schemas.keys import Keys
from workers.experiments import mark_live, read_experiment
from workers.health import Health
from workers.lookup import current_version
from workers.versions import Versions, partitions_of

log = structlog.get_logger()

MODEL_CHECK_S: Final = 1.0
FETCH_CHECK_S: Final = 0.5
WAIT_LOG_S: Final = 30.0
REFUSED_S: Final = 30.0


class Models:
    """Watches the pointers. What cannot be loaded is refused, loudly, and what runs goes on."""

    def __init__(self, client: redis.Redis, keys: Keys, registry: Registry) -> None:
        self._redis = client
        self._keys = keys
        self._registry = registry
        self.versions = Versions(client, keys)
        self._checked_at = 0.0
        self._accepted: set[str] = set()
        self._looking = threading.Lock()
        # Version -> when it is looked at again: its files may only not have arrived yet.
        self._refused: dict[str, float] = {}
        # What was last said of an experiment that is none.
        self._said = ""

    def wait(self, health: Health, stop: threading.Event, items_topic: str) -> Bundle | None:
        """Return the model to begin with, None when ``stop`` is set before there is one.

        Raises:
            BundleError: there is one, and neither it nor the one before it can be loaded.
        """
        said_at = -WAIT_LOG_S
        while not stop.is_set():
            health.beat()
            version = current_version(self._redis, self._keys)
            if version is not None:
                health.not_ready = "loading the model"
                return self._first(version, items_topic, health, stop)
            health.not_ready = "no model yet: train one with `latentstream train`"
            if time.monotonic() - said_at >= WAIT_LOG_S:
                said_at = time.monotonic()
                log.info("waiting_for_model", reason=health.not_ready)
            stop.wait(MODEL_CHECK_S)
        return None

    def due(self) -> bool:
        """Return whether it is time to look again: once a second."""
        if time.monotonic() - self._checked_at < MODEL_CHECK_S:
            return False
        self._checked_at = time.monotonic()
        return True

    def newer(self, running: Bundle) -> str | None:
        """Return the promoted version if it is another than that of ``running`` and can take its place.

        Not at the first look: its files are verified meanwhile.
        """
        version = current_version(self._redis, self._keys)
        if version is None or version == running.version or not self._fits(version, running):
            return None
        return version

    def load(self, version: str) -> Bundle:
        """Return a model.

        Raises:
            BundleError: it is not there, or damaged.
        """
        return self._registry.load(version)

    def experiment(self, control: Bundle) -> Experiment | None:
        """Return the experiment against the model ``control``, if its challenger can be loaded."""
        try:
            found = read_experiment(self._redis, self._keys)
        except BadExperiment as error:
            self._say(str(error))
            return None
        if found is None or not self._fits(found.challenger, control):
            return None
        if found.control != control.version:
            self._say(f"its control is {found.control}, which is not the current model")
            return None
        return found

    def live_experiment(self, control: Bundle, partitions: int) -> Experiment | None:
        """Return the experiment once its challenger knows the items, and say so in Redis.

        From then on it stays live: the challenger may be behind for a moment, and lists must not change with that.
        """
        found = self.experiment(control)
        if found is None or found.live_at:
            return found
        if not self.versions.caught_up(found.challenger, found.control, partitions):
            return None
        mark_live(self._redis, self._keys, found, datetime.now(UTC).isoformat(timespec="seconds"))
        return found

    def input_shape(self, version: str) -> tuple[int, ...] | None:
        """Return the shape of the features that a version takes, None where it takes none or is not there."""
        try:
            content = self._registry.manifest(version).content
        except BundleError:
            return None
        return content.input_shape if content is not None else None

    def _first(self, current: str, items_topic: str, health: Health, stop: threading.Event) -> Bundle | None:
        """Until the items are encoded under a promoted model, a worker begins with the one that serves."""
        serving = self.versions.serving()
        candidates = [current] if serving is None or serving == current else [current, serving]
        if len(candidates) > 1:
            partitions = partitions_of(self._redis, self._keys, items_topic)
            if not self.versions.caught_up(candidates[0], candidates[1], partitions):
                candidates.reverse()
        try:
            return self._loaded(candidates[0], health, stop)
        except BundleError as error:
            if len(candidates) == 1:
                raise
            log.error("model_refused", version=candidates[0], reason=str(error), running=candidates[1])
            return self._loaded(candidates[1], health, stop)

    def _loaded(self, version: str, health: Health, stop: threading.Event) -> Bundle | None:
        """Return a model, None when ``stop`` is set before it is here: it may come from far away."""
        fetched: Future[Manifest] = Future()

        def fetch() -> None:
            try:
                fetched.set_result(self._registry.fetch(version))
            except BaseException as error:  # noqa: BLE001 - it is raised again, on the main thread
                fetched.set_exception(error)

        threading.Thread(target=fetch, name="fetch model", daemon=True).start()
        while not stop.is_set():
            health.beat()
            with contextlib.suppress(TimeoutError):
                fetched.result(FETCH_CHECK_S)
                return self._registry.load(version)
        return None

    def _fits(self, version: str, running: Bundle) -> bool:
        """A damaged bundle, or one for other items, must not take the service down: the old one goes on.

        It is looked at on another thread, because its files may be large.
        """
        if version in self._accepted:
            return True
        if time.monotonic() >= self._refused.get(version, 0.0) and not self._looking.locked():
            threading.Thread(target=self._look_at, args=(version, running), name="look at model", daemon=True).start()
        return False

    def _look_at(self, version: str, running: Bundle) -> None:
        with self._looking:
            try:
                require_same_input(self._registry.fetch(version), running.manifest)
                self._accepted.add(version)
            except BundleError as error:
                log.error("model_refused", version=version, reason=str(error), running=running.version)
                self._refused[version] = time.monotonic() + REFUSED_S

    def _say(self, reason: str) -> None:
        if reason != self._said:
            self._said = reason
            log.warning("experiment_ignored", reason=reason)


def require_same_input(model: Manifest, running: Manifest) -> None:
    """Refuse a ``model`` that could encode nothing of what ``running`` encodes.

    Raises:
        BundleError: so it is.
    """
    if model.content is None or running.content is None:
        return
    shape, known = (" x ".join(map(str, content.input_shape)) for content in (model.content, running.content))
    if shape != known:
        raise BundleError(
            f"the model {model.version} takes features of {shape}, and the items have {known} as {running.version} "
            "takes them: every item would become a dead letter. Promote a model for these items; if the features "
            "really are others from now on, publish all items anew and restart the workers"
        )
