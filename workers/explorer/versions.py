"""The model versions as the explorer lists them, the log of promotions, and the experiment that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from schemas.keys import VERSION_PATTERN
from schemas.masking import masked_url
from schemas.settings import Settings
from workers.experiments import Report, read_experiment, report
from workers.explorer.bundles import NotHere, directory, summary
from workers.explorer.system import System
from workers.model_states import model_states
from workers.promotions import Promotion, promotions

_PROMOTIONS: Final = 50
_LARGEST_REPORT: Final = 32 << 20


class Version(msgspec.Struct, frozen=True):
    """A version, with the settings that it was trained under. ``problem`` is why the rest is not known."""

    version: str
    state: str
    content: str = ""
    interaction: str = ""
    codec: str = ""
    trained_items: int = 0
    trained_until: float | None = None
    events: dict[str, int] = {}
    bytes: int = 0
    metrics: dict[str, float] = {}
    report: bool = False
    problem: str = ""


class Models(msgspec.Struct, frozen=True):
    """All versions, the newest first, and the last changes of the current one."""

    registry: str
    versions: list[Version]
    promotions: list[Promotion]
    training: dict[str, Any] | None


def read_models(system: System) -> Models:
    """Return the versions that this machine has, and those that are in use."""
    settings = system.settings
    states = model_states(system.redis, system.keys)
    names = {path.name for path in _directories(settings.registry)} | states.keys()
    last = system.redis.get(system.keys.training)
    return Models(
        masked_url(settings.registry_url) if settings.registry_url else str(settings.registry),
        [_version(settings, name, states.get(name, "")) for name in sorted(names, reverse=True)],
        promotions(system.redis, system.keys, _PROMOTIONS),
        msgspec.json.decode(last, type=dict[str, Any]) if isinstance(last, bytes) else None,
    )


def read_report(settings: Settings, version: str) -> bytes:
    """Return the report of the training of a version, HTML; it is fetched where the registry is at a URL.

    Raises:
        NotHere: there is none.
        StoreError: what is at the URL cannot be read.
    """
    path = _report(settings, version)
    if settings.registry_url is not None and not path.is_file():
        # Not above: it imports TensorFlow.
        from workers.registry import open_registry

        open_registry(settings).report(version)
    if not path.is_file() or path.is_symlink() or path.stat().st_size > _LARGEST_REPORT:
        raise NotHere(f"there is no report of the training of {version}")
    return path.read_bytes()


def read_running_experiment(system: System) -> Report | None:
    """Return how the experiment stands, None where none runs.

    Raises:
        BadExperiment: what stands in Redis is none.
    """
    experiment = read_experiment(system.redis, system.keys)
    if experiment is None:
        return None
    return report(system.redis, system.keys, system.item_partitions, system.user_partitions, experiment)


def _directories(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return [path for path in root.iterdir() if VERSION_PATTERN.fullmatch(path.name) and path.is_dir()]


def _version(settings: Settings, name: str, state: str) -> Version:
    try:
        said = summary(settings, name)
        files = [path for path in directory(settings, name).iterdir() if path.is_file()]
        # At a URL there may be one: whoever opens it is told.
        has_report = settings.registry_url is not None or _report(settings, name).is_file()
    except (NotHere, OSError) as error:
        return Version(name, state, problem=str(error))  # It may just have been pruned.
    content = said.settings.get("content", {}) if said.content is not None else {}
    return Version(
        name,
        state,
        " ".join(str(content[part]) for part in ("network", "kind") if part in content) or "yes" * bool(said.content),
        str((said.interaction or {}).get("kind", "")),
        said.codec or "",
        said.trained_items,
        said.trained_until,
        {topic: sum(ends.values()) for topic, ends in said.offsets.items()},
        sum(path.stat().st_size for path in files),
        said.metrics,
        has_report,
    )


def _report(settings: Settings, version: str) -> Path:
    return directory(settings, version).with_name(f"{version}-report.html")
