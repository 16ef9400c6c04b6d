"""A new model, trained and measured against the current one on interactions that neither was trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from models.arrays import Ints
from models.bundle import Bundle, BundleError
from models.registry import Registry
from models.splits import split_items, split_time
from models.training import Progress, Trained, TrainingData, train
from schemas.model_settings import ModelSettings
from schemas.settings import TrainerSettings
from workers.model_watch import require_same_input
from workers.trainer.gate import Decision, Figures, compare, decide
from workers.trainer.judging import Questions, popular_places, questions, random_gain, served_places

# Fewer held-out interactions say nothing about lists.
LEAST_HELD_OUT: Final = 100
_JUDGING: Final = "Lists of the {}"


@dataclass(frozen=True, slots=True)
class Judged:
    """What was asked, and at which place the lists of each had it."""

    until: float
    asked: Questions
    challenger: Ints
    champion: Ints | None
    figures: Figures


@dataclass(frozen=True, slots=True)
class Challenge:
    """The new model, read back from the registry, what was measured of it, and what the gate says.

    ``judged`` is None where there are too few interactions to measure lists by.
    """

    trained: Trained
    bundle: Bundle
    judged: Judged | None
    decision: Decision


@dataclass(frozen=True, slots=True)
class Task:
    """What to train on and how. ``unavailable`` items are not recommended; ``unfinished`` keeps the state."""

    data: TrainingData
    unavailable: set[str]
    model: ModelSettings
    trainer: TrainerSettings
    version_prefix: str
    registry: Registry
    unfinished: Path | None = None


def challenge(task: Task, champion: Bundle | None, progress: Callable[[Progress], None]) -> Challenge:
    """Train on what is before the held-out interactions, save, load, and measure both models on the others.

    What was measured is what is promoted: the newest interactions are not trained on. Users have them all the same,
    since a code is made of the history.

    Raises:
        TooLittleDataError: there is too little to train on.
    """
    data = task.data
    known = champion.manifest.trained_until if champion is not None else None
    times = data.interactions.timestamps if data.interactions is not None else np.empty(0)
    until = split_time(times, task.trainer.held_out_share, known, LEAST_HELD_OUT)
    predecessor = champion if task.trainer.from_current else None
    earlier = data if until is None else up_to(data, until)
    trained = train(earlier, task.model, task.version_prefix, progress, task.unfinished, predecessor)
    bundle = task.registry.load(trained.save(task.registry.root).name)
    try:
        if champion is not None:
            require_same_input(bundle.manifest, champion.manifest)
    except BundleError as error:
        return Challenge(trained, bundle, None, Decision(promote=False, why=str(error)))
    judged = None if until is None else judge(task, until, bundle, champion, progress)
    if judged is not None:
        return Challenge(trained, bundle, judged, decide(judged.figures, task.trainer.margin))
    return Challenge(trained, bundle, None, _by_content(data, bundle, champion, task.trainer.margin))


def judge(
    task: Task, until: float, challenger: Bundle, champion: Bundle | None, progress: Callable[[Progress], None]
) -> Judged | None:
    """Return what the lists of both are worth after ``until``; None where too few are asked for."""
    asked = questions(task.data, until, task.model.seed)
    if len(asked) < LEAST_HELD_OUT:
        return None

    def places(name: str, bundle: Bundle) -> Ints:
        stage = _JUDGING.format(name)
        return served_places(
            bundle, task.data, task.unavailable, asked, lambda done, total: progress(Progress(stage, done, total, ""))
        )

    new = places("new model", challenger)
    old = places("current model", champion) if champion is not None else None
    popular = popular_places(task.data, until, asked)
    figures = compare(asked, new, old, popular, random_gain(len(task.data.item_ids)), task.model.seed)
    return Judged(until, asked, new, old, figures)


def up_to(data: TrainingData, until: float) -> TrainingData:
    """Return ``data`` without the interactions after ``until``."""
    if data.interactions is None:
        return data
    rows = data.interactions.timestamps <= until
    return replace(data, interactions=data.interactions.rows(rows))


def _by_content(data: TrainingData, bundle: Bundle, champion: Bundle | None, margin: float) -> Decision:
    """Return what the errors of the items say that test, where there are too few interactions to measure lists by."""
    nothing = f"fewer than {LEAST_HELD_OUT} interactions to measure lists by"
    if bundle.content is None or data.features is None:
        return Decision(
            promote=champion is None, why=f"{'the first model' if champion is None else 'refused'}: {nothing}"
        )
    rows = np.flatnonzero(data.has_features)
    test = data.features[rows[split_items([data.item_ids[row] for row in rows]).test]]
    error, variance = float(bundle.content.encode(test).errors.mean()), float(test.var(axis=0).mean())
    measured = f"on {len(test):,} test items; {nothing}"
    if champion is None:
        sane = error < variance or not variance
        why = f"error {error:.4g} of a variance of {variance:.4g} {measured}"
        return Decision(promote=sane, why=f"{'the first model' if sane else 'it reconstructs nothing'}: {why}")
    if champion.content is None:
        return Decision(promote=True, why=f"the current model takes no features: error {error:.4g} {measured}")
    before = float(champion.content.encode(test).errors.mean())
    better = error < (1 - margin) * before
    why = f"error {error:.4g}, the current model's {before:.4g} {measured}"
    return Decision(promote=better, why=f"{'better' if better else f'not better by {margin:.1%}'}: {why}")
