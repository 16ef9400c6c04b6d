"""Training of the interaction autoencoder: from the earlier part of a history, predict the later part.

Each time a history is seen it is cut at a random place; what comes before is the input, what comes after
the target. The multinomial likelihood and the annealed KL term are those of Liang et al. 2018, where the
whole history is the target. Predicting forward is what serving does. Histories without usable times are
cut in random order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from models.arrays import Floats, Ints, Mask
from models.checkpoints import Checkpoints, Curve
from models.fitting import ReportEpoch, Resumption, Weights, fit_best_epoch, fit_epochs
from models.histories import Histories
from models.interaction import InteractionAutoencoder, InteractionConfig
from models.interaction_network import InteractionNetwork
from models.metrics import ndcg_at_k, recall_at_k

_K: Final = 20
_VALIDATION_SHARE: Final = 0.2
# So many users must have something that a predecessor has not seen for that to be held out.
_LEAST_JUDGES: Final = 50
# A validation ranks the whole catalogue for so many users at most: of 30,000 it took longer than five epochs.
_VALIDATION_USERS: Final = 2048
_EVERY: Final = 5
_PATIENCE: Final = 5
# About so many steps an epoch, between these batch sizes.
_STEPS: Final = 8
_SMALLEST_BATCH: Final = 16
_LARGEST_BATCH: Final = 1024


class TrainedInteractions(NamedTuple):
    """The network, trained on all histories, and what validation said of one without what was held out."""

    network: InteractionNetwork
    user_codes: Floats  # of the training users, [users, user_dim]
    metrics: dict[str, float]
    curve: Curve  # of the one without; its validation is minus the NDCG


class Start(NamedTuple):
    """What a network takes over from its predecessor, of the same architecture."""

    known: Mask  # which items the predecessor can place, [items]
    embeddings: Floats  # [items, hidden]
    retrieval: Floats  # [items, user_dim + 1]
    user_encoder: list[Any]  # its weights
    until: float | None  # the time of the newest interaction that it knows


def train_interactions(
    histories: Histories,
    items: int,
    config: InteractionConfig,
    *,
    epochs: int,
    seed: int,
    popularity: float = 0.0,
    start: Start | None = None,
    report_trial: ReportEpoch,
    report_final: ReportEpoch,
    checkpoints: Checkpoints | None = None,
) -> TrainedInteractions:
    """Return the autoencoder of ``histories`` over ``items`` items.

    The last fifth of each history is held out to find the number of epochs; then a new network is trained
    for so long on everything, because the newest interactions say most. With a ``start`` what its predecessor has
    not seen is held out instead, if that is enough: on the rest the start is better than any training of it.

    Args:
        histories: what is trained on.
        items: size of the catalogue.
        config: the architecture.
        epochs: most passes over the histories.
        seed: of all that is drawn.
        popularity: see :func:`models.interaction_network.popularity_offsets`.
        start: where the network begins, instead of anywhere.
        report_trial: is told of the training that finds the number of epochs.
        report_final: is told of that on everything.
        checkpoints: of this training, which goes on from them after an interruption.
    """

    def _network(trained_on: Histories) -> InteractionNetwork:
        owners = np.bincount(trained_on.items, minlength=items)
        network = InteractionNetwork(config, items, _steps(trained_on) * epochs, seed, owners, popularity)
        if start is not None:
            rows = np.flatnonzero(start.known)
            network.autoencoder.place(rows, start.embeddings[rows], start.retrieval[rows])
            network.user_encoder.set_weights(start.user_encoder)
        return network

    # What is last among interactions of the same time would be the order of a file.
    rng = np.random.default_rng(seed)
    earlier, later = _held_out(histories.shuffle_ties(rng), start)
    order = rng.permutation(len(earlier))
    judges = order[later.lengths[order] > 0][:_VALIDATION_USERS] if start is not None else order[:_VALIDATION_USERS]
    given, held = earlier.take(judges), later.take(judges)
    relevant = np.split(held.items, held.indptr[1:-1])
    trial = _network(earlier)

    def validate() -> float:
        return ndcg_at_k(trial.recommend(given, _K)[0], relevant, _K)

    draws = np.random.default_rng(seed)
    best = fit_best_epoch(
        _epoch_runner(trial, earlier, draws),
        validate,
        Weights(trial.autoencoder.trainable),
        epochs=epochs,
        every=_EVERY,
        patience=_PATIENCE,
        report=report_trial,
        resumption=_resumption(checkpoints, "trial", trial, draws),
    )
    ranked, _ = trial.recommend(given, _K)
    final = _network(histories)
    draws = np.random.default_rng(seed)
    fit_epochs(
        _epoch_runner(final, histories, draws),
        Weights(final.autoencoder.trainable),
        epochs=best.epoch,
        every=_EVERY,
        report=report_final,
        resumption=_resumption(checkpoints, "final", final, draws),
    )
    return TrainedInteractions(
        final,
        final.user_codes(histories),
        {
            f"interaction_validation_ndcg_at_{_K}": ndcg_at_k(ranked, relevant, _K),
            f"interaction_validation_recall_at_{_K}": recall_at_k(ranked, relevant, _K),
            "interaction_epochs": float(best.epoch),
        },
        best.curve,
    )


def _resumption(
    checkpoints: Checkpoints | None, stage: str, network: InteractionNetwork, draws: np.random.Generator
) -> Resumption | None:
    if checkpoints is None:
        return None
    return Resumption(checkpoints.stage(stage), Weights(network.moving), draws)


def _held_out(histories: Histories, start: Start | None) -> tuple[Histories, Histories]:
    """Return the histories to train on and those to find."""
    if start is not None and start.until is not None:
        new = histories.timestamps > start.until
        earlier, later = histories.rows(~new), histories.rows(new)
        judges = np.flatnonzero((earlier.lengths > 1) & (later.lengths > 0))
        if len(judges) >= _LEAST_JUDGES:
            # Whoever has nothing new trains as well, and judges nothing.
            trained = np.flatnonzero(earlier.lengths > 1)
            return earlier.take(trained), later.take(trained)
    return histories.split_last(_VALIDATION_SHARE)


def _batch(histories: Histories) -> int:
    return int(np.clip(len(histories) // _STEPS, _SMALLEST_BATCH, _LARGEST_BATCH))


def _steps(histories: Histories) -> int:
    return -(-len(histories) // _batch(histories))


def _epoch_runner(
    network: InteractionNetwork, histories: Histories, rng: np.random.Generator
) -> Callable[[int], float]:
    def run_epoch(epoch: int) -> float:
        network.begin_epoch(epoch)
        shuffled = histories.shuffle_ties(rng)
        losses = []
        for step, users in enumerate(np.array_split(rng.permutation(len(histories)), _steps(histories))):
            whole = shuffled.take(users)
            inputs, targets = _cut(whole, network.autoencoder, rng)
            shares = (inputs.norms() / np.maximum(whole.norms(), 1e-12)).astype(np.float32)
            losses.append(network.train_step(inputs, targets, shares, epoch * _steps(histories) + step))
        return float(np.mean(losses))

    return run_epoch


def _cut(
    histories: Histories, autoencoder: InteractionAutoencoder, rng: np.random.Generator
) -> tuple[Histories, Histories]:
    """Return inputs and targets: histories cut at random places.

    The target weights of a user sum to the square root of their number: long histories say more than short
    ones, but not in proportion (validation NDCG@20 on MovieLens-100K at dropout .3: .236; with the number itself
    .223, with 1 .227).
    """
    lengths = histories.lengths
    least, most = autoencoder.input_share
    shortest = np.maximum(1, (lengths * least).astype(np.int64))
    cuts: Ints = rng.integers(shortest, np.maximum(np.ceil(lengths * most).astype(np.int64), shortest + 1))
    early = histories.places < np.repeat(cuts, lengths)
    targets = histories if autoencoder.targets_whole else histories.rows(~early)
    totals = np.bincount(targets.users, targets.weights, minlength=len(targets))
    scale = np.sqrt(targets.lengths) / np.maximum(totals, 1e-12)
    weights = (targets.weights * scale[targets.users]).astype(np.float32)
    return histories.rows(early), replace(targets, weights=weights)
