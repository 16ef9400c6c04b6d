"""Training loops: a fixed number of epochs, or until validation stops improving with the best weights kept."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np

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


class Weights:
    """Variables as the training loop wants them."""

    def __init__(self, variables: Sequence[Any]) -> None:
        self._variables = variables

    def get_weights(self) -> list[Any]:
        """Return a copy of all values."""
        return [variable.numpy() for variable in self._variables]

    def set_weights(self, values: Sequence[Any]) -> None:
        """Put ``values`` back."""
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)


@dataclass(frozen=True, slots=True)
class Resumption:
    """What a training takes to go on after an interruption as if there had been none.

    Args:
        checkpoint: where to go on from if it holds a state, and where to keep it; None: nowhere.
        moving: what changes beside the weights: the state of optimizers, averages.
        rng: what the epochs draw from; None where each begins with a generator of its own.
    """

    checkpoint: Checkpoint | None
    moving: Weights
    rng: np.random.Generator | None = None

    @classmethod
    def of_optimizer(cls, checkpoint: Checkpoint | None, optimizer: Any) -> Self:
        """Return that of a training whose epochs draw from generators of their own, with a Keras optimizer."""
        return cls(checkpoint, Weights(optimizer.variables))

    def load(self, model: Any) -> State | None:
        """Put back what was kept, and return it; None where nothing was."""
        state = self.checkpoint.load() if self.checkpoint is not None else None
        if state is not None:
            model.set_weights(state.weights)
            self.moving.set_weights(state.optimizer)
            if self.rng is not None:
                self.rng.bit_generator.state = json.loads(state.progress.generator)
        return state

    def save(self, at: Progress, model: Any, best: list[Any]) -> None:
        """Keep where the training is, with the weights that were best."""
        if self.checkpoint is None:
            return
        if self.rng is not None:
            # Its numbers are too long for most JSON libraries.
            at = msgspec.structs.replace(at, generator=json.dumps(self.rng.bit_generator.state))
        self.checkpoint.save(State(at, model.get_weights(), best, self.moving.get_weights()))


def fit_epochs(
    run_epoch: RunEpoch,
    model: Any,
    *,
    epochs: int,
    every: int,
    report: ReportEpoch,
    resumption: Resumption | None = None,
) -> None:
    """Run ``epochs`` epochs, and keep the state after each ``every`` of them.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    kept = resumption.load(model) if resumption is not None else None
    for epoch in range(kept.progress.epoch if kept is not None else 0, epochs):
        loss = _checked(run_epoch(epoch), epoch)
        if resumption is not None and (epoch + 1) % every == 0:
            resumption.save(Progress(epoch + 1, 0, 0.0, 0, Curve([], [])), model, [])
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
    resumption: Resumption | None = None,
) -> BestEpoch:
    """Train until validation brings nothing better; leave the best weights in ``model``.

    Args:
        run_epoch: see above.
        validate: returns a score; larger is better.
        model: what has ``get_weights()`` and ``set_weights()``; the best are put back at the end.
        epochs: most epochs.
        every: epochs between validations, after each of which the state is kept.
        patience: validations without improvement before it stops.
        report: see above.
        resumption: how to go on after an interruption, if at all.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    at = Progress(0, 0, -math.inf, 0, Curve([], []))
    weights = model.get_weights()
    if resumption is not None and (state := resumption.load(model)) is not None:
        at, weights = state.progress, state.best_weights
    while at.epoch < epochs and at.stale < patience:
        loss = _checked(run_epoch(at.epoch), at.epoch)
        score = validate() if (at.epoch + 1) % every == 0 or at.epoch + 1 == epochs else None
        at, improved = _after(at, loss, score)
        if improved:
            weights = model.get_weights()
        if resumption is not None and score is not None:
            resumption.save(at, model, weights)
        note = f"loss {loss:.4g}" + (f", best validation {abs(at.best_score):.4g}" if at.best_epoch else "")
        report(at.epoch, epochs, note)
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
