from __future__ import annotations

import numpy as np
import pytest

from models.histories import Histories, Interactions


def interactions(*rows: tuple[int, int, float, float]) -> Interactions:
    users, items, weights, times = zip(*rows, strict=True)
    return Interactions(np.array(users), np.array(items), np.array(weights, np.float32), np.array(times, np.float64))


def per_user(histories: Histories) -> list[list[int]]:
    return [part.tolist() for part in np.split(histories.items, histories.indptr[1:-1])]


def test_histories_are_in_time_order() -> None:
    histories = Histories.of(interactions((1, 4, 1, 30), (0, 2, 1, 5), (1, 3, 2, 10), (1, 9, 1, 20)), 3)
    assert per_user(histories) == [[2], [3, 9, 4], []]
    assert histories.weights.tolist() == [1, 2, 1, 1]
    assert histories.places.tolist() == [0, 0, 1, 2]
    assert histories.lengths.tolist() == [1, 3, 0]


def test_a_second_interaction_replaces_the_first_and_weight_zero_retracts() -> None:
    histories = Histories.of(
        interactions((0, 1, 1, 10), (0, 2, 1, 20), (0, 1, 5, 30), (0, 3, 1, 1), (0, 3, 0, 2), (1, 3, 0, 1)), 2
    )
    assert per_user(histories) == [[2, 1], []]
    assert histories.weights.tolist() == [1, 5]


def test_the_last_share_is_split_off_rounded_down() -> None:
    histories = Histories.of(
        interactions(*[(user, item, 1, item) for user, n in ((0, 10), (1, 4)) for item in range(n)]), 2
    )
    earlier, later = histories.split_last(0.2)
    assert per_user(earlier) == [list(range(8)), list(range(4))]
    assert per_user(later) == [[8, 9], []]


def test_users_can_be_taken_in_any_order() -> None:
    histories = Histories.of(interactions((0, 1, 1, 1), (2, 5, 1, 1), (2, 6, 1, 2)), 3)
    assert per_user(histories.take(np.array([2, 1, 0, 2]))) == [[5, 6], [], [1], [5, 6]]


def test_only_rows_of_one_time_are_shuffled() -> None:
    histories = Histories.of(interactions(*[(0, item, 1, item // 4) for item in range(12)]), 1)
    shuffled = histories.shuffle_ties(np.random.default_rng(0))
    assert shuffled.items.tolist() != list(range(12))
    assert [item // 4 for item in shuffled.items] == [item // 4 for item in range(12)]


def test_the_matrix_has_the_weights() -> None:
    histories = Histories.of(interactions((0, 1, 2, 1), (1, 0, 3, 1)), 2)
    assert histories.sparse(3).toarray().tolist() == [[0, 2, 0], [3, 0, 0]]


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="same length"):
        Interactions(np.zeros(2, np.int64), np.zeros(1, np.int64), np.zeros(2, np.float32), np.zeros(2))
