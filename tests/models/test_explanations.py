from __future__ import annotations

import numpy as np
import pytest

from models.arrays import Doubles, Floats
from models.explanations import contributions
from models.space import LatentSpace
from models.training import Trained
from tests.models import boards


class Linear:
    """A space without a bridge or a bias of its own: the code is the bag times ``factor``."""

    linear = True

    def __init__(self, factor: float, *, normed: bool = False) -> None:
        self._factor = factor
        self._normed = normed

    def user_codes(self, bags: Floats) -> Floats:
        lengths = np.linalg.norm(bags, axis=1, keepdims=True) if self._normed else 1
        return np.asarray(self._factor * bags / lengths, np.float32)


def placed(trained: Trained) -> tuple[Floats, Floats]:
    """Return embeddings and retrieval vectors of the board's items."""
    content = trained.parts.content
    latents = content.latents(content.codes(boards.colours(boards.SIDE))) if content else None
    found = trained.parts.space.place(boards.names(), latents, np.full(boards.SIDE, content is not None))
    return found.embeddings, found.retrieval


def scores(space: LatentSpace, embeddings: Floats, weights: Floats, retrieval: Floats) -> Doubles:
    """Return the scores that the recommender would give, float64 ``[items]``."""
    n = len(embeddings)
    code = space.user_codes(space.bags(embeddings, np.array([0, n]), np.arange(n), weights))[0]
    found: Doubles = retrieval.astype(np.float64) @ np.append(code.astype(np.float64), 1)
    return found


WEIGHTS = np.array([1, 0.5, 2, 1, 1e-4, 3], np.float32)


def test_what_a_linear_model_adds_up_is_the_score(trained_content: Trained) -> None:
    embeddings, retrieval = placed(trained_content)
    history, items = embeddings[[0, 2, 4, 1, 6, 3]], retrieval[10:20]
    assert trained_content.parts.space.linear
    found = contributions(trained_content.parts.space, history, WEIGHTS, items)
    assert found.shape == (6, 10)
    np.testing.assert_allclose(
        found.sum(axis=0) + items[:, -1], scores(trained_content.parts.space, history, WEIGHTS, items), atol=1e-6
    )


@pytest.mark.parametrize("normed", [False, True])
def test_bias_and_contributions_add_up_whatever_the_factor(normed: bool) -> None:
    rng = np.random.default_rng(0)
    embeddings, retrieval = rng.normal(size=(6, 4)).astype(np.float32), rng.normal(size=(3, 5)).astype(np.float32)
    space: LatentSpace = Linear(2.5, normed=normed)  # type: ignore[assignment]
    found = contributions(space, embeddings, WEIGHTS, retrieval)
    bag = (WEIGHTS / np.linalg.norm(WEIGHTS)) @ embeddings
    code = 2.5 * bag / (np.linalg.norm(bag) if normed else 1)
    np.testing.assert_allclose(found.sum(axis=0) + retrieval[:, -1], retrieval @ np.append(code, 1), atol=1e-5)
    # One item alone, by hand: its weight, its inner product, the factor.
    factor = 2.5 / (np.linalg.norm(bag) if normed else 1)
    by_hand = factor * 2 / np.linalg.norm(WEIGHTS) * (embeddings[2] @ retrieval[1, :-1])
    assert found[2, 1] == pytest.approx(by_hand, rel=1e-5)


def test_other_models_say_what_the_score_would_lose(trained_both: Trained) -> None:
    space = trained_both.parts.space
    assert not space.linear
    embeddings, retrieval = placed(trained_both)
    history, items = embeddings[[0, 2, 4, 1, 6, 3]], retrieval[10:20]
    found = contributions(space, history, WEIGHTS, items)
    whole = scores(space, history, WEIGHTS, items)
    for left_out in range(6):
        rest = np.arange(6) != left_out
        without = scores(space, history[rest], WEIGHTS[rest], items)
        np.testing.assert_allclose(found[left_out], whole - without, atol=1e-5)


def test_it_is_due_to_the_items_of_its_colour(trained: Trained) -> None:
    """Item 20 is even: the even items of the history speak for it, more than the odd ones."""
    embeddings, retrieval = placed(trained)
    history = np.array([0, 2, 4, 6, 1, 3])
    found = contributions(trained.parts.space, embeddings[history], np.ones(6, np.float32), retrieval[[20]])[:, 0]
    assert found[:4].min() > found[4:].max()


@pytest.mark.parametrize("weights", [[1.0], [1e6, 1e-6], []])
def test_extreme_histories(trained: Trained, weights: list[float]) -> None:
    embeddings, retrieval = placed(trained)
    own = np.array(weights, np.float32)
    found = contributions(trained.parts.space, embeddings[: len(own)], own, retrieval[5:8])
    assert found.shape == (len(own), 3)
    assert np.isfinite(found).all()
