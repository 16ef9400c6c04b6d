"""Where a training stands, on disk, so that one that was interrupted goes on instead of beginning again."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.files import load_arrays, save_arrays

_ARRAYS: Final = "state.npz"
_PROGRESS: Final = "progress"


class Curve(msgspec.Struct, frozen=True):
    """Losses after each finished epoch; validation only where there was one, else None."""

    training: list[float]
    validation: list[float | None]


class Progress(msgspec.Struct, frozen=True):
    """A training between two epochs: how many are done, the best so far, and how long ago that was.

    ``generator`` is the state of what is drawn from, as JSON; empty where each epoch begins with one of its own.
    """

    epoch: int
    best_epoch: int
    best_score: float
    stale: int
    curve: Curve
    generator: str = ""


class State(NamedTuple):
    """A progress with what it takes to go on from there."""

    progress: Progress
    weights: list[NDArray[Any]]
    best_weights: list[NDArray[Any]]
    optimizer: list[NDArray[Any]]


class Checkpoint:
    """The state of one stage of a training, in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self) -> State | None:
        """Return the last state saved, None where there is none."""
        path = self._directory / _ARRAYS
        if not path.exists():
            return None
        arrays = load_arrays(path)
        progress = msgspec.json.decode(arrays.pop(_PROGRESS).tobytes(), type=Progress)
        groups: dict[str, list[NDArray[Any]]] = {"weights": [], "best": [], "optimizer": []}
        for name, value in sorted(arrays.items()):
            groups[name.partition(".")[0]].append(value)
        return State(progress, groups["weights"], groups["best"], groups["optimizer"])

    def save(self, state: State) -> None:
        """Keep ``state`` instead of the one before; a crash leaves one of the two."""
        self._directory.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, NDArray[Any]] = {
            _PROGRESS: np.frombuffer(msgspec.json.encode(state.progress), np.uint8),
            **_numbered("weights", state.weights),
            **_numbered("best", state.best_weights),
            **_numbered("optimizer", state.optimizer),
        }
        partial = self._directory / f"partial-{_ARRAYS}"
        save_arrays(partial, arrays)
        partial.replace(self._directory / _ARRAYS)


def _numbered(group: str, arrays: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {f"{group}.{number:05}": np.asarray(value) for number, value in enumerate(arrays)}


class Checkpoints:
    """The checkpoints of one training: the same data and configuration, and nothing else, find them again."""

    def __init__(self, root: Path, *identity: bytes | memoryview) -> None:
        digest = hashlib.sha256()
        for part in identity:
            digest.update(len(part).to_bytes(8))
            digest.update(part)
        self._directory = root / f"unfinished-{digest.hexdigest()[:16]}"

    @property
    def found(self) -> bool:
        """Whether an interrupted training can go on."""
        return self._directory.is_dir()

    def stage(self, name: str) -> Checkpoint:
        """Return the checkpoint of a stage of the training."""
        return Checkpoint(self._directory / name)

    def finish(self) -> None:
        """Remove them: the training is done."""
        if self._directory.is_dir():
            shutil.rmtree(self._directory)
