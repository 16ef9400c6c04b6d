"""``evaluate retraining`` on people with a taste."""

from __future__ import annotations

import numpy as np
import pytest

from models.histories import Histories, Interactions
from schemas.settings import TrainerSettings
from tests.trainer import data as people
from workers.datasets.interactions import Split, UnusableData
from workers.evaluation.retraining import WEEK_S, measure, shuffle

QUICK = people.SETTINGS.model_copy(update={"interaction_epochs": 10})


def split(seconds: float) -> Split:
    """The whole lasts for 24 times so many seconds."""
    data = people.tastes()
    own = data.interactions
    assert own is not None
    whole = Histories.of(Interactions(own.users, own.items, own.weights, own.timestamps * seconds), people.USERS)
    nothing = np.zeros(len(whole.items), bool)
    return Split("tastes", people.ITEMS, whole, whole.rows(nothing))


def test_the_model_in_force_is_measured_week_by_week_and_no_shuffled_one_is_promoted() -> None:
    trainer = TrainerSettings(held_out_share=0.2)
    result = measure(split(WEEK_S / 4), QUICK, trainer, 1, lambda _: lambda *_: None)
    first, second = result.trainings
    assert first.decision.promote
    assert (first.shuffled, result.shuffled_promoted) == (None, 0)
    assert second.shuffled is not None
    assert second.figures is not None
    assert second.share > first.share == pytest.approx(0.4, abs=0.01)
    # Six weeks, of which the first model has two and a half.
    assert [week.trainings for week in result.weeks] == [0, 0, 1, 1]
    assert all(week.figures.difference == 0 for week in result.weeks[:2])
    changed = [week.figures.difference != 0 for week in result.weeks[2:]]
    assert all(changed) == any(changed) == second.decision.promote


def test_shuffled_data_have_the_same_counts() -> None:
    data = people.tastes()
    mixed = shuffle(data, 0)
    assert data.interactions is not None
    assert mixed.interactions is not None
    np.testing.assert_array_equal(np.bincount(mixed.interactions.items), np.bincount(data.interactions.items))
    assert np.mean(mixed.interactions.items == data.interactions.items) < 0.1


def test_data_without_times_cannot_be_lived_through() -> None:
    with pytest.raises(UnusableData, match="has no times"):
        measure(split(0.0), people.SETTINGS, TrainerSettings(), 1, lambda _: lambda *_: None)
