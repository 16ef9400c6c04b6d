"""``evaluate retraining``: a model's life in time order, by the trainer's own functions without Kafka and Redis.

A first model is trained; after each following part of the data a challenger is, and takes its place where the gate
lets it. Week by week the lists of the model in force are compared with those that the first model would have served.
Beside each challenger one is trained on shuffled interactions, which the gate must refuse: everybody has as many items
as before, and every item as many users, but nobody's own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from models.bundle import Bundle
from models.fitting import ReportEpoch
from models.histories import Histories
from models.registry import Registry
from models.splits import split_time
from models.training import Interactions, Progress, TrainingData, train
from schemas.model_settings import ModelSettings
from schemas.settings import TrainerSettings
from workers.datasets.interactions import Split, UnusableData
from workers.trainer.challenge import LEAST_HELD_OUT, Task, challenge, judge, up_to
from workers.trainer.gate import Decision, Figures, decide

WEEK_S: Final = 7 * 86_400.0
# Of all interactions by time, those that are there when the first model is trained.
_FIRST_SHARE: Final = 0.4


class Retraining(msgspec.Struct, frozen=True):
    """One training: when, by which share of the interactions, what was measured, and what the gate said."""

    at: float
    share: float
    version: str
    figures: Figures | None
    decision: Decision
    shuffled: Decision | None


class Week(msgspec.Struct, frozen=True):
    """The week from ``begins`` on: ``figures.champion`` is the first model, ``challenger`` the one in force."""

    begins: float
    trainings: int
    figures: Figures


class Result(msgspec.Struct, frozen=True):
    """``below`` are the weeks in which the model in force was worse than the first one, by the mean."""

    dataset: str
    model: str
    from_current: bool
    trainings: list[Retraining]
    weeks: list[Week]
    below: int
    surely_below: int
    shuffled_promoted: int


def measure(
    split: Split,
    settings: ModelSettings,
    trainer: TrainerSettings,
    retrainings: int,
    report: Callable[[str], ReportEpoch],
) -> Result:
    """Live through the data.

    Raises:
        UnusableData: the interactions have no times.
    """
    data = _data(split)
    assert data.interactions is not None  # noqa: S101 - made there
    times = data.interactions.timestamps
    if not np.ptp(times):
        raise UnusableData(f"{split.name} has no times to live through")
    # From one week's beginning to the next, so that no week has two models.
    first = float(np.quantile(times, _FIRST_SHARE))
    shares = np.linspace(_FIRST_SHARE, 1, retrainings + 2)[1:-1]
    later = np.ceil((np.quantile(times, shares) - first) / WEEK_S)
    dates = [first, *(first + WEEK_S * later).tolist()]
    stages: dict[str, ReportEpoch] = {}
    prefix = ""

    def progress(step: Progress) -> None:
        name = f"{prefix}, {step.stage}"
        stages.setdefault(name, report(name))(step.done, step.total, step.note)

    done: list[Retraining] = []
    weeks: list[Week] = []
    with tempfile.TemporaryDirectory() as directory:
        registry = Registry(Path(directory))
        initial: Bundle | None = None
        current: Bundle | None = None
        for number, at in enumerate(dates):
            prefix = f"training {number + 1} of {len(dates)}"
            task = Task(up_to(data, at), set(), settings, trainer, f"{number}", registry)
            made = challenge(task, current, progress)
            prefix = f"shuffled {number + 1} of {len(dates)}"
            shuffled = None if current is None else _shuffled(task, current, progress)
            figures = made.judged.figures if made.judged is not None else None
            share = float(np.mean(times <= at))
            done.append(Retraining(at, share, made.bundle.version, figures, made.decision, shuffled))
            if made.decision.promote:
                current = made.bundle
            if current is None:
                raise UnusableData(f"the first model of {split.name} was refused: {made.decision.why}")
            initial = initial or current
            ends = dates[number + 1] if number + 1 < len(dates) else float(times.max())
            prefix = f"weeks {number + 1} of {len(dates)}"
            weeks += _weeks(task, data, at, ends, initial, current, number, progress)
    return Result(
        dataset=split.name,
        model=settings.interaction_kind,
        from_current=trainer.from_current,
        trainings=done,
        weeks=weeks,
        below=sum((week.figures.difference or 0) < 0 for week in weeks),
        surely_below=sum(week.figures.interval is not None and week.figures.interval[1] < 0 for week in weeks),
        shuffled_promoted=sum(one.shuffled is not None and one.shuffled.promote for one in done),
    )


def shuffle(data: TrainingData, seed: int) -> TrainingData:
    """Return ``data`` with the items of its interactions in random order."""
    own = data.interactions
    if own is None:
        return data
    items = np.random.default_rng(seed).permutation(own.items)
    return replace(data, interactions=Interactions(own.users, items, own.weights, own.timestamps))


def _weeks(
    task: Task,
    data: TrainingData,
    begins: float,
    ends: float,
    initial: Bundle,
    current: Bundle,
    trainings: int,
    progress: Callable[[Progress], None],
) -> list[Week]:
    """Return the weeks between two trainings in which enough is asked."""
    weeks = []
    for start in np.arange(begins, ends, WEEK_S).tolist():
        judged = judge(replace(task, data=up_to(data, start + WEEK_S)), start, current, initial, progress)
        if judged is not None:
            weeks.append(Week(start, trainings, judged.figures))
    return weeks


def _shuffled(task: Task, champion: Bundle, progress: Callable[[Progress], None]) -> Decision | None:
    """Return what the gate says of a challenger that is trained on shuffled interactions."""
    own = task.data.interactions
    assert own is not None  # noqa: S101 - as above
    known = champion.manifest.trained_until
    until = split_time(own.timestamps, task.trainer.held_out_share, known, LEAST_HELD_OUT)
    if until is None:
        return None
    trained = train(shuffle(up_to(task.data, until), task.model.seed), task.model, "shuffled", progress)
    bundle = task.registry.load(trained.save(task.registry.root).name)
    judged = judge(task, until, bundle, champion, progress)
    return None if judged is None else decide(judged.figures, task.trainer.margin)


def _data(split: Split) -> TrainingData:
    whole: Histories = split.whole
    features = split.features
    return TrainingData(
        item_ids=[str(item) for item in range(split.items)],
        features=features,
        has_features=np.full(split.items, features is not None),
        input_shape=None if features is None else (features.shape[1],),
        published=features is not None,
        interactions=Interactions(whole.users, whole.items, whole.weights, whole.timestamps),
    )
