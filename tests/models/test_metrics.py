from __future__ import annotations

from math import log2

import numpy as np
import pytest
import pytrec_eval

from models.metrics import coverage_at_k, ndcg_at_k, novelty_at_k, recall_at_k

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


def test_recall_of_at_most_k_by_hand() -> None:
    # User 0 can find at most 2 of 3 among the first 2, and finds 1.
    assert recall_at_k(RANKED, RELEVANT, 2, of_at_most_k=True) == pytest.approx((1 / 2 + 0) / 2)
    assert recall_at_k(RANKED, RELEVANT, 5, of_at_most_k=True) == recall_at_k(RANKED, RELEVANT, 5)


def test_coverage_by_hand() -> None:
    # The first two places hold 7, 1, 2, 5 and 6.
    assert coverage_at_k(RANKED, 10, 2) == 5 / 10
    assert coverage_at_k(np.array([[3, -1], [3, -1]]), 10, 2) == 1 / 10


def test_novelty_by_hand() -> None:
    owners = np.array([8, 4, 1, 0])
    assert novelty_at_k(np.array([[0, 1], [2, 3]]), owners, 8, 2) == pytest.approx((0 + 1 + 3 + 4) / 4)
    assert novelty_at_k(np.array([[1, 0], [2, -1]]), owners, 8, 2) == pytest.approx((1 + 0 + 3) / 3)


@pytest.mark.parametrize("k", [1, 5, 20, 100])
def test_an_independent_library_agrees_on_random_data(k: int) -> None:
    rng = np.random.default_rng(k)
    ranked = np.stack([rng.permutation(300)[:100] for _ in range(50)])
    relevant = [rng.choice(300, rng.integers(1, 40), replace=False) for _ in range(50)]
    found = pytrec_eval.RelevanceEvaluator(
        {str(user): {str(item): 1 for item in items} for user, items in enumerate(relevant)},
        {f"recall.{k}", f"ndcg_cut.{k}"},
    ).evaluate(
        {str(user): {str(item): float(-place) for place, item in enumerate(row)} for user, row in enumerate(ranked)}
    )
    theirs = {name: np.mean([row[name] for row in found.values()]) for name in (f"recall_{k}", f"ndcg_cut_{k}")}
    assert recall_at_k(ranked, relevant, k) == pytest.approx(theirs[f"recall_{k}"])
    assert ndcg_at_k(ranked, relevant, k) == pytest.approx(theirs[f"ndcg_cut_{k}"])
