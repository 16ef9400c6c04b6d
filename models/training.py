"""Training of a whole model from arrays, for any of the three kinds of data.

Items with features and interactions, items with features only, interactions only: what there is too little
of is left out, and the report says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np

from models.arrays import Ints, float_matrix
from models.bundle import Bundle, ModelParts, save_bundle
from models.checkpoints import Checkpoints, Curve
from models.codecs import Int8Codec
from models.codecs.residual import CODEWORDS
from models.content_training import TrainedContent, autoencoder_config, train_content
from models.drift import Bins, Latents, Popularity, Snapshot
from models.errors import TooLittleDataError
from models.fitting import ReportEpoch
from models.histories import Histories, Interactions
from models.space import LatentSpace
from models.space_training import begin_with, content_space, fit_interactions, interaction_space
from models.splits import split_items
from models.training_data import MIN_ITEMS, TrainingData
from schemas.model_settings import ContentSettings, ModelSettings

__all__ = ["Interactions", "Progress", "Report", "Trained", "TrainingData", "train"]

MIN_USERS: Final = 20
# One interaction cannot be cut into an input and a target.
MIN_HISTORY: Final = 2


class Progress(NamedTuple):
    """One step of a training, for people."""

    stage: str
    done: int
    total: int
    note: str


class Report(msgspec.Struct, frozen=True):
    """What was trained on and what came of it; ``notes`` are sentences about what was done otherwise."""

    items: int
    items_with_features: int
    users: int
    interactions: int
    trained_items: int
    metrics: dict[str, float]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class Trained:
    """A model in memory, the report, and the losses of each stage of the training.

    ``until`` is the time of the newest interaction trained on, in Unix seconds; None where there is none.
    """

    parts: ModelParts
    report: Report
    curves: dict[str, Curve]
    version_prefix: str
    settings: ModelSettings
    offsets: Mapping[str, Mapping[int, int]]
    until: float | None

    def save(self, root: Path) -> Path:
        """Write a bundle under ``root`` and return its directory; see :func:`models.bundle.save_bundle`."""
        return save_bundle(
            root,
            self.parts,
            version_prefix=self.version_prefix,
            metrics=self.report.metrics,
            settings=self.settings.model_dump(exclude={"registry"}),
            offsets=self.offsets,
            trained_until=self.until,
        )


def train(
    data: TrainingData,
    settings: ModelSettings,
    version_prefix: str,
    progress: Callable[[Progress], None] | None = None,
    unfinished: Path | None = None,
    predecessor: Bundle | None = None,
) -> Trained:
    """Return a model of ``data``.

    With a directory ``unfinished`` both trainings keep their state there, and each goes on from it when it is called
    with the same data and settings again; once the whole model is done the states are removed.

    With a ``predecessor`` the networks begin with its weights, where the settings ask for the same architecture, and
    each item where that one places it: by what it learnt of it, or by its features.

    Raises:
        TooLittleDataError: neither the features nor the interactions are enough.
        ValueError: arrays do not fit together, or features are not finite.
    """
    _check(data)
    notes: list[str] = []
    histories, trained_items = _usable_histories(data)
    enough = len(histories) >= MIN_USERS and len(trained_items) >= MIN_ITEMS
    if not enough and data.interactions is not None:
        notes.append(
            f"Interactions were left out: {MIN_USERS} users with {MIN_HISTORY} or more items and {MIN_ITEMS} such"
            f" items are needed, there are {len(histories)} and {len(trained_items)}."
        )
    kept = _content_checkpoints(data, settings, predecessor, unfinished)
    interactions_kept = _interaction_checkpoints(histories, settings, predecessor, unfinished)
    if any(each is not None and each.found for each in (kept, interactions_kept)):
        notes.append("An interrupted training with the same data and settings was continued.")
    content = _train_content(data, settings, progress, notes, kept, predecessor)
    if content is None and not enough:
        raise TooLittleDataError(
            f"There is too little to train on. Needed are features of at least {MIN_ITEMS} items (there are"
            f" {int(data.has_features.sum())}), or interactions of at least {MIN_USERS} users with {MIN_HISTORY} or"
            f" more items each (there are {len(histories)}) and at least {MIN_ITEMS} such items (there are"
            f" {len(trained_items)}). Publish more events and train again."
        )
    metrics = dict(content.metrics) if content else {}
    curves = dict(content.curves) if content else {}
    space: LatentSpace
    if content is None or enough:
        names = [data.item_ids[item] for item in trained_items]
        start = begin_with(data, trained_items, names, settings, predecessor, notes)
        trained = fit_interactions(
            histories,
            len(trained_items),
            settings,
            start,
            lambda stage: _reporter(progress, f"Interaction {stage}"),
            interactions_kept,
        )
        space = interaction_space(data, histories, trained_items, names, content, settings, trained)
        user_codes, curves["interactions"] = trained.user_codes, trained.curve
        metrics |= trained.metrics
    else:
        space, user_codes = content_space(content)
    report = Report(
        items=len(data.item_ids),
        items_with_features=int(data.has_features.sum()),
        users=len(histories),
        interactions=len(histories.items),
        trained_items=len(space.vocabulary),
        metrics=metrics,
        notes=notes,
    )
    snapshot = _snapshot(data, histories, content, len(space.vocabulary))
    parts = ModelParts(content.model if content else None, space, Int8Codec.fit(user_codes), snapshot)
    for each in (kept, interactions_kept):
        if each is not None:
            each.finish()
    until = float(histories.timestamps.max()) if len(histories.items) else None
    return Trained(parts, report, curves, version_prefix, settings, data.offsets, until)


def _check(data: TrainingData) -> None:
    items = len(data.item_ids)
    if data.has_features.shape != (items,):
        raise ValueError(f"has_features must have the shape [{items}], not {list(data.has_features.shape)}")
    if data.features is not None:
        if data.input_shape is None or len(data.features) != items:
            raise ValueError(f"features need an input shape and {items} rows, one for each item")
        float_matrix(data.features, math.prod(data.input_shape), "features")
    elif data.has_features.any():
        raise ValueError("has_features names items, but there are no features")
    if (
        (own := data.interactions) is not None
        and len(own.items)
        and not 0 <= own.items.min() <= own.items.max() < items
    ):
        raise ValueError(f"interactions have items outside 0..{items - 1}")


def _usable_histories(data: TrainingData) -> tuple[Histories, Ints]:
    """Return the histories that are long enough, and their items: index i in them is item ``trained[i]``."""
    if data.interactions is None or not len(data.interactions.users):
        return Histories.empty(), np.empty(0, np.int64)
    histories = Histories.of(data.interactions, int(data.interactions.users.max()) + 1)
    histories = histories.take(np.flatnonzero(histories.lengths >= MIN_HISTORY))
    trained, renumbered = np.unique(histories.items, return_inverse=True)
    return replace(histories, items=renumbered), trained


def _reporter(progress: Callable[[Progress], None] | None, stage: str) -> ReportEpoch:
    def report(done: int, total: int, note: str) -> None:
        if progress is not None:
            progress(Progress(stage, done, total, note))

    return report


def _content_checkpoints(
    data: TrainingData, settings: ModelSettings, predecessor: Bundle | None, unfinished: Path | None
) -> Checkpoints | None:
    if unfinished is None or data.features is None:
        return None
    chosen = msgspec.json.encode(
        [settings.content.model_dump(), settings.seed, data.input_shape, _began_with(predecessor)]
    )
    names = msgspec.json.encode([data.item_ids, data.has_features.tolist()])
    return Checkpoints(unfinished, chosen, names, np.ascontiguousarray(data.features).data.cast("B"))


def _interaction_checkpoints(
    histories: Histories, settings: ModelSettings, predecessor: Bundle | None, unfinished: Path | None
) -> Checkpoints | None:
    if unfinished is None or not len(histories.items):
        return None
    chosen = settings.model_dump(exclude={"content", "registry"})
    arrays = (histories.indptr, histories.items, histories.weights, histories.timestamps)
    return Checkpoints(
        unfinished,
        msgspec.json.encode([chosen, _began_with(predecessor)]),
        *(np.ascontiguousarray(array).data.cast("B") for array in arrays),
    )


def _began_with(predecessor: Bundle | None) -> str:
    return predecessor.version if predecessor is not None else ""


def _train_content(
    data: TrainingData,
    settings: ModelSettings,
    progress: Callable[[Progress], None] | None,
    notes: list[str],
    checkpoints: Checkpoints | None,
    predecessor: Bundle | None,
) -> TrainedContent | None:
    """Return the content part; None, with a note, where too few items have features."""
    if data.features is None or data.input_shape is None:
        return None
    features = data.features if data.has_features.all() else data.features[data.has_features]
    if len(features) < MIN_ITEMS:
        notes.append(f"Features were left out: {MIN_ITEMS} items with features are needed, there are {len(features)}.")
        return None
    split = split_items([name for name, has in zip(data.item_ids, data.has_features, strict=True) if has])
    content = _fitting_settings(settings.content, features.shape[1], len(split.training), notes)
    before = predecessor.content if predecessor is not None else None
    if before is not None and before.config != autoencoder_config(content, data.input_shape):
        before = None
        notes.append("The content autoencoder began anew: the current model's has another architecture.")
    return train_content(
        features,
        split,
        data.input_shape,
        content,
        seed=settings.seed,
        report=lambda stage: _reporter(progress, f"Content {stage}"),
        checkpoints=checkpoints,
        predecessor=before,
    )


def _fitting_settings(content: ContentSettings, width: int, items: int, notes: list[str]) -> ContentSettings:
    """Return settings that suit features of this width and so many training items; what changes is noted."""
    changes: dict[str, int | str] = {}
    if content.latent_dim >= width > 1 and content.kind not in {"overcomplete", "sparse"}:
        changes["latent_dim"] = width - 1
        notes.append(
            f"latent_dim is {width - 1} instead of {content.latent_dim}: the latent of the kind {content.kind} must be"
            f" narrower than the {width} features."
        )
    if content.codec in {"product", "residual"} and items < CODEWORDS:
        changes["codec"] = "int8"
        notes.append(
            f"The codec is int8 instead of {content.codec}, which needs {CODEWORDS} items to learn from, not {items}."
        )
    return content.model_copy(update=changes)


def _snapshot(data: TrainingData, histories: Histories, content: TrainedContent | None, vocabulary: int) -> Snapshot:
    """Return what later events are compared with. Without a vocabulary interactions were left out."""
    return Snapshot(
        items=len(data.item_ids),
        users=len(np.unique(data.interactions.users)) if data.interactions is not None else 0,
        errors=Bins.fit(content.held_out_errors[:, None]) if content else None,
        latents=Latents.fit(content.latents) if content else None,
        popularity=Popularity.fit(histories.items, histories.timestamps, vocabulary) if vocabulary else None,
    )
