from __future__ import annotations

import numpy as np
import pytest

from models.baselines import Ease, Popularity
from models.histories import Histories, Interactions
from tests.models import boards

HISTORIES = Histories.of(boards.board(), boards.SIDE)


def test_ease_finds_the_missing_item_of_the_checker_board() -> None:
    ids, scores = Ease.fit(HISTORIES, boards.SIDE, 10.0).recommend(HISTORIES, 3)
    assert ids[:, 0].tolist() == list(range(boards.SIDE))
    assert (scores[:, 0] > scores[:, 1]).all()


def test_ease_solves_one_ridge_regression_an_item() -> None:
    """Each column of B is the ridge regression of its item on all others."""
    rng = np.random.default_rng(0)
    matrix = (rng.random((30, 8)) < 0.4).astype(np.float64)
    users, items = np.nonzero(matrix)
    histories = Histories.of(Interactions(users, items, np.ones(len(users), np.float32), np.zeros(len(users))), 30)
    expected = np.zeros((8, 8))
    for item in range(8):
        others = np.delete(np.arange(8), item)
        inputs = matrix[:, others]
        expected[others, item] = np.linalg.solve(inputs.T @ inputs + 3 * np.eye(7), inputs.T @ matrix[:, item])
    # Every item alone in a history of a user shows a row of B.
    singles = Histories(np.arange(9), np.arange(8), np.ones(8, np.float32), np.zeros(8))
    ids, scores = Ease.fit(histories, 8, 3.0).recommend(singles, 7)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, ids, axis=1), atol=1e-6)


def test_a_large_matrix_is_inverted_by_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Ease.fit(HISTORIES, boards.SIDE, 10.0).recommend(HISTORIES, 5)
    monkeypatch.setattr("models.baselines._BLOCK", 5)
    halves = Ease.fit(HISTORIES, boards.SIDE, 10.0).recommend(HISTORIES, 5)
    np.testing.assert_allclose(halves[1], whole[1], rtol=1e-6)


def test_popularity_leaves_out_what_the_user_has() -> None:
    histories = Histories(np.array([0, 2, 4, 5]), np.array([0, 1, 1, 2, 1]), np.ones(5, np.float32), np.zeros(5))
    ids, scores = Popularity.fit(histories, 4).recommend(histories, 4)
    assert ids.tolist() == [[2, 3, -1, -1], [0, 3, -1, -1], [0, 2, 3, -1]]
    assert scores[2, :3].tolist() == [1, 1, 0]
    assert np.isneginf(scores[ids < 0]).all()


def test_ease_needs_a_ridge() -> None:
    with pytest.raises(ValueError, match="ridge"):
        Ease.fit(HISTORIES, boards.SIDE, 0)
