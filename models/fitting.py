"""Training loops: a fixed number of epochs, or until validation stops improving with the best weights kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

# Trains epoch n, from 0, and returns its mean loss.
RunEpoch = Callable[[int], float]
# Is told the number of finished epochs, the largest there can be, and the figures for people.
ReportEpoch = Callable[[int, int, str], None]


class BestEpoch(NamedTuple):
    """The number of epochs after which validation was best, and its score."""

    epoch: int
    score: float


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
) -> BestEpoch:
    """Train until validation brings nothing better; leave the best weights in ``model``.

    Args:
        run_epoch: see above.
        validate: returns a score; larger is better.
        model: the Keras model whose weights are kept and put back.
        epochs: most epochs.
        every: epochs between validations.
        patience: validations without improvement before it stops.
        report: see above.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    best: BestEpoch | None = None
    weights = model.get_weights()
    stale = 0
    for epoch in range(epochs):
        loss = _checked(run_epoch(epoch), epoch)
        if (epoch + 1) % every == 0 or epoch + 1 == epochs:
            score = validate()
            stale += 1
            if best is None or score > best.score:
                best, weights, stale = BestEpoch(epoch + 1, score), model.get_weights(), 0
        report(epoch + 1, epochs, f"loss {loss:.4g}" + (f", best validation {abs(best.score):.4g}" if best else ""))
        if stale >= patience:
            break
    if best is None:
        raise ValueError("a model needs at least one epoch")
    model.set_weights(weights)
    return best


def _checked(loss: float, epoch: int) -> float:
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss became {loss} in epoch {epoch + 1}: are there extreme values in the data?")
    return loss
