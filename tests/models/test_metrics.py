from __future__ import annotations

from math import log2

import numpy as np
import pytest

from models.metrics import ndcg_at_k, recall_at_k

# User 0 finds 2 of 3 (places 1 and 3), user 1 has nothing to find, user 2 finds 1 of 1 at place 4.
RANKED = np.array([[7, 1, 9, 2, 0], [1, 2, 3, 4, 5], [5, 6, 7, 8, -1]])
RELEVANT = [np.array([9, 7, 100]), np.array([], np.int64), np.array([8])]


def test_recall_by_hand() -> None:
    assert recall_at_k(RANKED, RELEVANT, 5) == pytest.approx((2 / 3 + 1) / 2)
    assert recall_at_k(RANKED, RELEVANT, 2) == pytest.approx((1 / 3 + 0) / 2)


def test_ndcg_by_hand() -> None:
    first = (1 + 1 / log2(4)) / (1 + 1 / log2(3) + 1 / log2(4))
    second = 1 / log2(5)
    assert ndcg_at_k(RANKED, RELEVANT, 5) == pytest.approx((first + second) / 2)
    # With k = 2 the ideal list of user 0 holds two items.
    assert ndcg_at_k(RANKED, RELEVANT, 2) == pytest.approx((1 / (1 + 1 / log2(3)) + 0) / 2)


def test_a_perfect_ranking_scores_one() -> None:
    assert ndcg_at_k(np.array([[3, 1, 2]]), [np.array([1, 3])], 3) == 1
    assert recall_at_k(np.array([[3, 1, 2]]), [np.array([1, 3])], 3) == 1


def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to measure"):
        recall_at_k(RANKED[:1], [np.array([], np.int64)], 2)
    with pytest.raises(ValueError, match="at least 6"):
        ndcg_at_k(RANKED, RELEVANT, 6)
