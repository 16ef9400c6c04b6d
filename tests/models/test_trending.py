from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.trending import rising

WEIGHTS = st.lists(st.tuples(st.floats(0.01, 1e4), st.floats(1.0, 50.0)), min_size=1, max_size=20)


def scores(recent: list[float], longer: list[float], steady: float = 1 / 7) -> list[float]:
    found = rising(np.log2(np.array(recent)), np.log2(np.array(longer)), steady)
    return [float(score) for score in np.exp2(found)]


def test_by_hand() -> None:
    """10 came where 10 / 7 were expected; the steady one has what was expected; the third fell."""
    new, steady, falling = scores([10, 100, 1], [10, 700, 20])
    assert new == pytest.approx(10 * np.log(7) - (10 - 10 / 7))
    assert (steady, falling) == (0, 0)


def test_in_the_first_hours_what_is_popular_trends() -> None:
    first, second, third = scores([30, 20, 10], [30, 20, 10])
    assert first > second > third > 0
    assert first / third == pytest.approx(3)


def test_after_a_quiet_time_the_shares_count() -> None:
    """Recent weights have faded to a thousandth; the item with more than its share still rises."""
    risen, other = scores([0.02, 0.01], [50, 50])
    assert risen > 0
    assert other == 0


def test_nothing_gives_nothing() -> None:
    assert scores([], []) == []


@given(WEIGHTS, st.floats(-1e5, 1e5))
def test_only_relative_weights_matter(weights: list[tuple[float, float]], moved: float) -> None:
    """Kept as logarithms the weights of years ago neither overflow nor vanish."""
    recent = np.log2(np.array([weight for weight, _ in weights]))
    longer = recent + np.log2(np.array([times for _, times in weights]))
    found, shifted = rising(recent, longer, 0.1), rising(recent + moved, longer + moved, 0.1)
    # A small lift is the difference of large logarithms.
    clear = found > recent - 15
    np.testing.assert_allclose(shifted[clear] - moved, found[clear], atol=1e-3)


@given(WEIGHTS)
def test_more_recent_weight_never_scores_less(weights: list[tuple[float, float]]) -> None:
    recent = np.log2(np.array([weight for weight, _ in weights]))
    longer = recent + np.log2(np.array([times for _, times in weights]))
    more = recent.copy()
    more[0] = (recent[0] + longer[0]) / 2
    # With a fixed expectation: one steady item outweighs all the others.
    anchor = np.array([60.0])
    before = rising(np.append(recent, anchor), np.append(longer, anchor + 1), 0.5)
    after = rising(np.append(more, anchor), np.append(longer, anchor + 1), 0.5)
    assert after[0] >= before[0]
