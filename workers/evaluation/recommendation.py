"""``evaluate recommendation``: the interaction autoencoder exactly and as it is served, EASE and popularity.

*exact* ranks all items by the trained network. *served* takes the way of a running recommender: the model is
saved as a bundle and loaded, its items are codes, users are histories of item ids, and the index ranks them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np

from models.arrays import Ints
from models.baselines import Ease, Popularity, Recommender
from models.bundle import Bundle, ModelParts, save_bundle
from models.codecs import Int8Codec
from models.fitting import ReportEpoch
from models.histories import Histories
from models.interaction import interaction_config
from models.interaction_network import InteractionNetwork
from models.interaction_training import train_interactions
from models.metrics import coverage_at_k, ndcg_at_k, novelty_at_k, recall_at_k
from models.retrieval_codes import RetrievalCodes
from models.space import InteractionSpace
from schemas.model_settings import ModelSettings
from workers.catalogue import Catalogue
from workers.datasets.interactions import Split
from workers.peak_memory import peak_memory_mb
from workers.ranking import Ranker
from workers.wanted import Wanted

LENGTHS: Final = (10, 20, 50, 100)
LONGEST: Final = max(LENGTHS)
# EASE's only parameter is chosen among these, on the last fifth of each training history.
RIDGES: Final = (30.0, 100.0, 200.0, 300.0, 500.0, 800.0, 1300.0)
# Of so many items on one fit takes minutes, and this ridge is used.
_MANY_ITEMS: Final = 10_000
_LARGE_RIDGE: Final = 500.0
_VALIDATION_SHARE: Final = 0.2
_USERS_AT_A_TIME: Final = 256
# Of the users, in `strong`: tested, and held out to choose by.
_HELD_OUT: Final = 0.1
Figures = dict[str, float]


class Baselines(msgspec.Struct, frozen=True):
    """What has to be beaten; ``ease`` is None where it needs more memory than there is."""

    ease: Figures | None
    popularity: Figures


class Result(msgspec.Struct, frozen=True):
    """One evaluation; figures are means over the ``seeds``, ``ndcg@100_by_seed`` those of each.

    ``peak_memory_mb`` is the most that the process had until the (first) model was trained, the data included.
    """

    dataset: str
    protocol: str
    model: str
    bytes_per_item: int
    train_seconds: float
    peak_memory_mb: float
    exact: Figures
    served: Figures
    baselines: Baselines
    ease_ridge: float
    users: int
    items: int
    seeds: int
    served_ndcg100_by_seed: list[float]
    ease_ndcg100_by_seed: list[float]
    notes: list[str]


class Trained(NamedTuple):
    """A network, the bundle that was made of it, and the seconds that the training took."""

    network: InteractionNetwork
    bundle: Bundle
    seconds: float


class _Task(NamedTuple):
    """Histories to train on, histories to rank for, and what is to be found."""

    items: int
    train: Histories
    given: Histories
    relevant: list[Ints]
    of_at_most_k: bool


def weak(split: Split, settings: ModelSettings, ridge: float | None, report: Callable[[str], ReportEpoch]) -> Result:
    """Measure on users who were trained on: from the earlier part of each history find the later."""
    task = _Task(split.items, split.train, split.train, per_user(split.test), of_at_most_k=False)
    return _result(split, "weak", [_measured(task, settings, ridge, report)], settings)


def strong(
    split: Split, settings: ModelSettings, ridge: float | None, seeds: int, report: Callable[[str], ReportEpoch]
) -> Result:
    """Measure on users who were not: four fifths of a history are given, the others are to be found.

    The protocol of Liang et al. 2018: a tenth of the users test, times do not count, and recall is of at most k.
    EASE's ridge and the model's epochs are chosen on parts of the training histories.
    """
    whole = split.whole
    timeless = Histories(whole.indptr, whole.items, whole.weights, np.zeros(len(whole.items)))
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        users = rng.permutation(len(timeless))
        tested = users[: max(1, int(_HELD_OUT * len(users)))]
        given, held = timeless.take(tested).shuffle_ties(rng).split_last(_VALIDATION_SHARE)
        train = timeless.take(np.setdiff1d(users, tested))
        task = _Task(split.items, train, given, per_user(held), of_at_most_k=True)
        found.append(_measured(task, settings.model_copy(update={"seed": seed}), ridge, report))
    return _result(split, "strong", found, settings)


def train(histories: Histories, items: int, settings: ModelSettings, report: Callable[[str], ReportEpoch]) -> Trained:
    """Return the model of ``histories``; item i is called ``str(i)``."""
    begun = time.monotonic()
    trained = train_interactions(
        histories,
        items,
        interaction_config(settings),
        epochs=settings.interaction_epochs,
        seed=settings.seed,
        popularity=settings.interaction_popularity,
        report_trial=report("finding the number of epochs"),
        report_final=report("training on everything"),
    )
    network = trained.network
    codes = RetrievalCodes.fit(network.retrieval, settings.item_bytes, settings.seed)
    space = InteractionSpace(
        network.config,
        [str(item) for item in range(items)],
        codes,
        network.embeddings,
        network.user_encoder,
        None,
        seeded=True,
    )
    parts = ModelParts(None, space, Int8Codec.fit(trained.user_codes))
    seconds = time.monotonic() - begun
    with tempfile.TemporaryDirectory() as directory:
        saved = save_bundle(
            Path(directory), parts, version_prefix="evaluation", metrics=trained.metrics, settings={}, offsets={}
        )
        return Trained(network, Bundle.load(saved), seconds)


def serve(bundle: Bundle, histories: Histories, k: int) -> Ints:
    """Return the items that a recommender lists for each history, int64 ``[users, k]``, -1 where it is short."""
    catalogue = Catalogue(bundle)
    try:
        ranker = Ranker(bundle, catalogue)
        catalogue.retrieval.wait_sealed()
        ranked = np.full((len(histories), k), -1, np.int64)
        for start in range(0, len(histories), _USERS_AT_A_TIME):
            some = histories.take(np.arange(start, min(start + _USERS_AT_A_TIME, len(histories))))
            named = [
                [(str(item), float(weight)) for item, weight in zip(items, weights, strict=True)]
                for items, weights in zip(per_user(some), np.split(some.weights, some.indptr[1:-1]), strict=True)
            ]
            for row, found in enumerate(ranker.for_histories(named, [Wanted(k)] * len(named)), start):
                ranked[row, : len(found.items)] = [int(name) for name in found.items]
        return ranked
    finally:
        catalogue.close()


def choose_ridge(train: Histories, items: int, k: int = LONGEST) -> float:
    """Return the ridge with which EASE finds the last fifth of each history best (NDCG at ``k``)."""
    fitted, held = train.shuffle_ties(np.random.default_rng(0)).split_last(_VALIDATION_SHARE)
    relevant, scores = per_user(held), {}
    for ridge in RIDGES:
        ranked, _ = Ease.fit(fitted, items, ridge).recommend(fitted, min(k, items))
        scores[ridge] = ndcg_at_k(ranked, relevant, ranked.shape[1])
    return max(scores, key=lambda ridge: scores[ridge])


def per_user(histories: Histories) -> list[Ints]:
    """Return the items of each history."""
    return np.split(histories.items, histories.indptr[1:-1])


class _Measured(NamedTuple):
    exact: Figures
    served: Figures
    ease: Figures | None
    popularity: Figures
    ridge: float
    bytes_per_item: int
    seconds: float
    peak_memory_mb: float
    notes: list[str]


def _measured(
    task: _Task, settings: ModelSettings, ridge: float | None, report: Callable[[str], ReportEpoch]
) -> _Measured:
    trained = train(task.train, task.items, settings, report)
    peak = peak_memory_mb()  # Before EASE, which takes several times as much.
    space = trained.bundle.space
    exact = _figures(task, trained.network.recommend(task.given, LONGEST)[0])
    served = _figures(task, serve(trained.bundle, task.given, LONGEST))
    popularity = _figures(task, _ranked(Popularity.fit(task.train, task.items), task))
    notes = []
    if ridge is None:
        ridge = choose_ridge(task.train, task.items) if task.items < _MANY_ITEMS else _LARGE_RIDGE
    try:
        ease = _figures(task, _ranked(Ease.fit(task.train, task.items, ridge), task))
    except MemoryError:
        ease = None
        notes.append(f"EASE was left out: a matrix of {task.items:,} squared does not fit into memory.")
    bytes_per_item = space.code_bytes if isinstance(space, InteractionSpace) else 0
    return _Measured(exact, served, ease, popularity, ridge, bytes_per_item, trained.seconds, peak, notes)


def _ranked(recommender: Recommender, task: _Task) -> Ints:
    return recommender.recommend(task.given, LONGEST)[0]


def _figures(task: _Task, ranked: Ints) -> Figures:
    owners = np.bincount(task.train.items, minlength=task.items)
    figures = {}
    for k in LENGTHS:
        figures[f"recall@{k}"] = recall_at_k(ranked, task.relevant, k, of_at_most_k=task.of_at_most_k)
        figures[f"ndcg@{k}"] = ndcg_at_k(ranked, task.relevant, k)
        figures[f"coverage@{k}"] = coverage_at_k(ranked, task.items, k)
        figures[f"novelty@{k}"] = novelty_at_k(ranked, owners, len(task.train), k)
    return figures


def _result(split: Split, protocol: str, found: Sequence[_Measured], settings: ModelSettings) -> Result:
    with_ease = [one.ease for one in found if one.ease is not None]
    return Result(
        dataset=split.name,
        protocol=protocol,
        model=settings.interaction_kind,
        bytes_per_item=found[0].bytes_per_item,
        train_seconds=float(np.mean([one.seconds for one in found])),
        peak_memory_mb=found[0].peak_memory_mb,
        exact=_mean([one.exact for one in found]),
        served=_mean([one.served for one in found]),
        baselines=Baselines(
            ease=_mean(with_ease) if len(with_ease) == len(found) else None,
            popularity=_mean([one.popularity for one in found]),
        ),
        ease_ridge=found[0].ridge,
        users=len(split.train),
        items=split.items,
        seeds=len(found),
        served_ndcg100_by_seed=[one.served["ndcg@100"] for one in found],
        ease_ndcg100_by_seed=[one["ndcg@100"] for one in with_ease],
        notes=[note for one in found for note in one.notes],
    )


def _mean(figures: Sequence[Figures]) -> Figures:
    return {name: float(np.mean([each[name] for each in figures])) for name in figures[0]}
