"""Training loops: a fixed number of epochs, or until validation stops improving with the best weights kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from models.checkpoints import Checkpoint, Curve, Progress, State

# Trains epoch n, from 0, and returns its mean loss.
RunEpoch = Callable[[int], float]
# Is told the number of finished epochs, the largest there can be, and the figures for people.
ReportEpoch = Callable[[int, int, str], None]


class BestEpoch(NamedTuple):
    """The number of epochs after which validation was best, its score, and the way there."""

    epoch: int
    score: float
    curve: Curve


def fit_epochs(run_epoch: RunEpoch, *, epochs: int, report: ReportEpoch) -> None:
    """Run ``epochs`` epochs.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    for epoch in range(epochs):
        loss = _checked(run_epoch(epoch), epoch)
        report(epoch + 1, epochs, f"loss {loss:.4g}")


def fit_best_epoch(
    run_epoch: RunEpoch,
    validate: Callable[[], float],
    model: Any,
    *,
    epochs: int,
    every: int,
    patience: int,
    report: ReportEpoch,
    optimizer: Any = None,
    checkpoint: Checkpoint | None = None,
) -> BestEpoch:
    """Train until validation brings nothing better; leave the best weights in ``model``.

    Args:
        run_epoch: see above. With a checkpoint its randomness must depend on the epoch alone.
        validate: returns a score; larger is better.
        model: what has ``get_weights()`` and ``set_weights()``; the best are put back at the end.
        epochs: most epochs.
        every: epochs between validations.
        patience: validations without improvement before it stops.
        report: see above.
        optimizer: the Keras optimizer, whose state belongs to a checkpoint.
        checkpoint: where to go on from if it holds a state, and where to keep it.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    moments = optimizer.variables if optimizer is not None else []
    at = Progress(0, 0, -math.inf, 0, Curve([], []))
    weights = model.get_weights()
    if checkpoint is not None and (state := checkpoint.load()) is not None:
        at, weights = state.progress, state.best_weights
        model.set_weights(state.weights)
        for variable, value in zip(moments, state.optimizer, strict=True):
            variable.assign(value)
    while at.epoch < epochs and at.stale < patience:
        loss = _checked(run_epoch(at.epoch), at.epoch)
        score = validate() if (at.epoch + 1) % every == 0 or at.epoch + 1 == epochs else None
        at, improved = _after(at, loss, score)
        if improved:
            weights = model.get_weights()
        note = f"loss {loss:.4g}" + (f", best validation {abs(at.best_score):.4g}" if at.best_epoch else "")
        report(at.epoch, epochs, note)
        if checkpoint is not None:
            values = [variable.numpy() for variable in moments]
            checkpoint.save(State(at, model.get_weights(), weights, values))
    if not at.best_epoch:
        raise ValueError("a model needs at least one epoch")
    model.set_weights(weights)
    return BestEpoch(at.best_epoch, at.best_score, at.curve)


def _after(at: Progress, loss: float, score: float | None) -> tuple[Progress, bool]:
    """Return the progress after one more epoch, and whether it is the best."""
    epoch = at.epoch + 1
    curve = Curve([*at.curve.training, loss], [*at.curve.validation, None if score is None else -score])
    if score is None:
        return Progress(epoch, at.best_epoch, at.best_score, at.stale, curve), False
    if score > at.best_score or not at.best_epoch:
        return Progress(epoch, epoch, score, 0, curve), True
    return Progress(epoch, at.best_epoch, at.best_score, at.stale + 1, curve), False


def _checked(loss: float, epoch: int) -> float:
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss became {loss} in epoch {epoch + 1}: are there extreme values in the data?")
    return loss
