"""Intervals of ratios over groups of users, against values by hand and against chance itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from models.experiments import Estimate, difference, ratio


def test_a_ratio_and_its_error_by_hand() -> None:
    found = ratio(np.array([1.0, 3.0, 5.0]), np.array([2.0, 4.0, 4.0]))
    assert found.value == pytest.approx(0.9)
    # Residuals 1 - 1.8, 3 - 3.6, 5 - 3.6 over the mean 10 / 3: -.24, -.18, .42; their squares sum to .2664.
    assert found.error == pytest.approx(math.sqrt(0.2664 / 2 / 3))
    assert found.freedom == 2
    low, high = found.interval()
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 2) * found.error)


def test_groups_without_anything_do_not_count() -> None:
    padded = ratio(np.array([1.0, 0, 3.0, 5.0, 0]), np.array([2.0, 0, 4.0, 4.0, 0]))
    assert padded == ratio(np.array([1.0, 3.0, 5.0]), np.array([2.0, 4.0, 4.0]))


def test_too_little_has_no_interval() -> None:
    nothing = ratio(np.zeros(3), np.zeros(3))
    assert math.isnan(nothing.value)
    single = ratio(np.array([1.0, 0]), np.array([4.0, 0]))
    assert single.value == 0.25
    assert all(math.isnan(end) for end in single.interval())
    apart = difference(single, ratio(np.array([1.0, 2.0]), np.array([4.0, 4.0])))
    assert apart.value == pytest.approx(0.125)
    assert math.isnan(apart.p_value())


def test_a_difference_is_welchs() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(1, 1, 40), rng.normal(1.3, 3, 25)
    apart = difference(ratio(first, np.ones(40)), ratio(second, np.ones(25)))
    known = stats.ttest_ind(second, first, equal_var=False)
    assert apart.value == pytest.approx(second.mean() - first.mean())
    assert apart.freedom == pytest.approx(known.df)
    assert apart.p_value() == pytest.approx(known.pvalue)
    assert apart.interval() == pytest.approx(known.confidence_interval())


def test_equal_without_any_variance_is_certain() -> None:
    same = difference(Estimate(0.5, 0.0, 5), Estimate(0.5, 0.0, 5))
    assert (same.value, same.p_value(), same.interval()) == (0.0, 1.0, (0.0, 0.0))
    assert difference(Estimate(0.0, 0.0, 5), Estimate(1.0, 0.0, 5)).p_value() == 0.0


def test_intervals_hold_the_truth_as_often_as_they_say_though_events_of_a_user_are_alike() -> None:
    """Users with rates of their own, and more events where the rate is high: events are far from independent."""
    rng = np.random.default_rng(1)
    trials, groups, users = 400, 64, 1200
    truth = 0.0
    inside = naive_inside = 0
    rates = rng.beta(0.5, 2, (trials, users))
    events = 1 + rng.poisson(20 * rates)
    hits = rng.binomial(events, rates)
    # E[hits] / E[events] of a user: with rates r of mean .2 and mean square .2 * 1.5 / 3.5.
    truth = (0.2 + 20 * 0.2 * 1.5 / 3.5) / (1 + 20 * 0.2)
    for trial in range(trials):
        group = rng.integers(0, groups, users)
        sums = (np.bincount(group, counts[trial], minlength=groups) for counts in (hits, events))
        found = ratio(*(each.astype(np.float64) for each in sums))
        low, high = found.interval()
        inside += low < truth < high
        naive = 1.96 * math.sqrt(found.value * (1 - found.value) / events[trial].sum())
        naive_inside += abs(found.value - truth) < naive
    assert inside / trials == pytest.approx(0.95, abs=0.035)
    assert naive_inside / trials < 0.8
