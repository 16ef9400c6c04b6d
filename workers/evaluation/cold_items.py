"""``evaluate recommendation --protocol cold-items``: recommend items that nobody has touched, by their content.

A tenth of the items is hidden from the whole training. Then each gets its place in the interaction space by the
bridge from its features, and for each user the hidden items are ranked; those that the user has are to be found.
*content* ranks them by the cosine between their latents and the weighted mean of the latents of the history.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from models.arrays import Doubles, Ints
from models.fitting import ReportEpoch
from models.histories import Histories, Interactions
from models.metrics import ndcg_at_k, recall_at_k
from models.space import ContentSpace
from models.training import Progress, TrainingData, train
from schemas.model_settings import ModelSettings
from workers.datasets.interactions import Split, UnusableData
from workers.evaluation.recommendation import per_user

K: Final = 20
_HIDDEN_SHARE: Final = 0.1
Figures = dict[str, float]


class Result(msgspec.Struct, frozen=True):
    """Means over the seeds, each with other items hidden; ``*_deviation`` is the standard deviation over them."""

    dataset: str
    protocol: str
    model: str
    seeds: int
    hidden_items: int
    bridge: Figures
    content: Figures
    random: Figures
    bridge_deviation: Figures
    ndcg_by_seed: dict[str, list[float]]


def measure(split: Split, settings: ModelSettings, seeds: int, report: Callable[[str], ReportEpoch]) -> Result:
    """Hide a tenth of the items, train, rank them; once for each seed.

    Raises:
        UnusableData: the items have no features.
    """
    if split.features is None:
        raise UnusableData(f"the items of {split.name} have no features, which new items are recommended by")
    found = [_measure_once(split, settings.model_copy(update={"seed": seed}), report) for seed in range(seeds)]

    def mean(name: str) -> Figures:
        return {figure: float(np.mean([each[name][figure] for each in found])) for figure in found[0][name]}

    return Result(
        dataset=split.name,
        protocol="cold-items",
        model=settings.interaction_kind,
        seeds=seeds,
        hidden_items=int(_HIDDEN_SHARE * split.items),
        bridge=mean("bridge"),
        content=mean("content"),
        random=mean("random"),
        bridge_deviation={
            figure: float(np.std([each["bridge"][figure] for each in found])) for figure in found[0]["bridge"]
        },
        ndcg_by_seed={name: [each[name][f"ndcg@{K}"] for each in found] for name in found[0]},
    )


def _measure_once(split: Split, settings: ModelSettings, report: Callable[[str], ReportEpoch]) -> dict[str, Figures]:
    rng = np.random.default_rng(settings.seed)
    whole, features = split.whole, split.features
    assert features is not None  # noqa: S101 - checked by the caller
    hidden = np.zeros(split.items, bool)
    hidden[rng.choice(split.items, int(_HIDDEN_SHARE * split.items), replace=False)] = True
    numbers = np.cumsum(~hidden) - 1  # of the items that are left
    given = whole.rows(~hidden[whole.items])
    data = TrainingData(
        item_ids=[str(item) for item in np.flatnonzero(~hidden)],
        features=features[~hidden],
        has_features=np.ones(int((~hidden).sum()), bool),
        input_shape=(features.shape[1],),
        published=True,
        interactions=Interactions(given.users, numbers[given.items], given.weights, given.timestamps),
    )
    stages: dict[str, ReportEpoch] = {}

    def progress(step: Progress) -> None:
        stages.setdefault(step.stage, report(f"seed {settings.seed}, {step.stage}"))(step.done, step.total, step.note)

    parts = train(data, settings, "evaluation", progress).parts
    content = parts.content
    if content is None:
        raise UnusableData(f"{split.name} has too few items to learn their content from")
    # As the encoder stores them: what the bridge sees is decoded from a code.
    latents = content.latents(content.codes(features))
    names = [str(item) if not gone else "" for item, gone in enumerate(hidden)]
    everything = np.ones(split.items, bool)
    space = parts.space
    neighbours = ContentSpace(latents[~hidden].mean(axis=0))
    scores: dict[str, Doubles] = {}
    for name, each in (("bridge", space), ("content", neighbours)):
        placed = each.place(names, latents, everything)
        bags = each.bags(placed.embeddings, given.indptr, given.items, given.weights)
        users = np.pad(each.user_codes(bags), ((0, 0), (0, 1)), constant_values=1)
        scores[name] = (users @ placed.retrieval[hidden].T).astype(np.float64)
    scores["random"] = rng.random((len(whole), int(hidden.sum())))
    relevant = _hidden_items(whole, hidden)
    return {name: _figures(values, relevant) for name, values in scores.items()}


def _hidden_items(whole: Histories, hidden: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[Ints]:
    """Return which of the hidden items, numbered by themselves, each user has."""
    later = whole.rows(hidden[whole.items])
    numbers = np.cumsum(hidden) - 1
    return [numbers[items] for items in per_user(later)]


def _figures(scores: Doubles, relevant: list[Ints]) -> Figures:
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    return {f"recall@{K}": recall_at_k(ranked, relevant, K), f"ndcg@{K}": ndcg_at_k(ranked, relevant, K)}
