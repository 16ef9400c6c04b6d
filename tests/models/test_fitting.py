from __future__ import annotations

import math

import pytest

from models.checkpoints import Curve
from models.fitting import BestEpoch, fit_best_epoch, fit_epochs


class Weights:
    """Stands for a Keras model: its only weight is the number of epochs it was trained for."""

    def __init__(self) -> None:
        self.value = 0

    def get_weights(self) -> int:
        return self.value

    def set_weights(self, value: int) -> None:
        self.value = value

    def train(self, epoch: int) -> float:
        self.value = epoch + 1
        return 1.0


def run(scores: list[float], every: int = 1) -> tuple[BestEpoch, int, int]:
    model, left, reports = Weights(), iter(scores), 0

    def report(done: int, total: int, note: str) -> None:
        nonlocal reports
        assert done <= total
        assert "loss 1" in note
        reports = done

    best = fit_best_epoch(model.train, lambda: next(left), model, epochs=10, every=every, patience=3, report=report)
    return best, model.value, reports


def test_stops_when_validation_is_stale_and_keeps_the_best_weights() -> None:
    best, kept, reports = run([1, 3, 2, 2, 2, 9])
    assert (best.epoch, best.score, kept, reports) == (2, 3, 2, 5)
    assert best.curve == Curve([1.0] * 5, [-1, -3, -2, -2, -2])


def test_validates_every_so_often_and_at_the_end() -> None:
    best, kept, reports = run([1, 2, 3, 4], every=3)
    assert (best.epoch, best.score, kept, reports) == (10, 4, 10, 10)
    assert best.curve.validation == [None, None, -1, None, None, -2, None, None, -3, -4]


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(FloatingPointError, match="epoch 3"):
        fit_epochs(lambda epoch: math.nan if epoch == 2 else 1.0, Weights(), epochs=5, every=1, report=lambda *_: None)
