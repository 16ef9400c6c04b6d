from __future__ import annotations

import numpy as np
import pytest

from models.arrays import Floats
from models.bridge_targets import retrieval_targets
from models.histories import Histories, Interactions

USERS, ITEMS, DIM = 400, 30, 4
RNG = np.random.default_rng(0)
CODES = RNG.normal(0.5, 1, (USERS, DIM)).astype(np.float32)
TASTES = RNG.normal(0, 1, (ITEMS, DIM))


def histories() -> Histories:
    """Return histories in which a user has the items that the code likes best."""
    users, items = np.nonzero(CODES @ TASTES.T + RNG.normal(0, 0.1, (USERS, ITEMS)) > 1)
    count = len(users)
    return Histories.of(Interactions(users, items, np.ones(count, np.float32), np.zeros(count)), USERS)


HISTORIES = histories()


def scores(retrieval: Floats) -> Floats:
    return CODES @ retrieval[:, :-1].T + retrieval[:, -1]


def network(scale: float = 1.0) -> Floats:
    """Return vectors that know the tastes and are noisy, and biases far from 0."""
    vectors = TASTES + RNG.normal(0, 2, TASTES.shape)
    return (scale * np.concatenate([vectors, RNG.normal(-7, 1, (ITEMS, 1))], axis=1)).astype(np.float32)


@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
def test_scores_lie_where_those_of_the_network_lie(scale: float) -> None:
    own = network(scale)
    targets = retrieval_targets(CODES, HISTORIES, own)
    assert targets.dtype == np.float32
    np.testing.assert_allclose(targets.mean(axis=0), own.mean(axis=0), rtol=1e-4, atol=1e-4 * scale)
    given, wanted = scores(targets), scores(own)
    # A mixture of two that differ spreads less than either, and more than half as far.
    assert 0.6 < given.std(axis=1).mean() / wanted.std(axis=1).mean() < 1.05


def test_users_who_have_an_item_score_it_higher_than_by_noisy_vectors() -> None:
    own = network()
    has = HISTORIES.sparse(ITEMS).toarray() > 0

    def lead(retrieval: Floats) -> float:
        given = scores(retrieval)
        standard = (given - given.mean(axis=0)) / given.std(axis=0)
        return float(standard[has].mean() - standard[~has].mean())

    assert lead(retrieval_targets(CODES, HISTORIES, own)) > lead(own) + 0.2


def test_the_same_data_give_the_same_bits_and_the_scale_of_weights_does_not_count() -> None:
    own = network()
    targets = retrieval_targets(CODES, HISTORIES, own)
    assert targets.tobytes() == retrieval_targets(CODES, HISTORIES, own).tobytes()
    heavy = Histories(HISTORIES.indptr, HISTORIES.items, HISTORIES.weights * 1000, HISTORIES.timestamps)
    np.testing.assert_allclose(retrieval_targets(CODES, heavy, own), targets, atol=1e-4)


def test_fewer_users_than_dimensions_and_items_that_everybody_has() -> None:
    few = HISTORIES.take(np.arange(3))
    everything = Interactions(
        np.repeat(np.arange(3), ITEMS),
        np.tile(np.arange(ITEMS), 3),
        np.ones(3 * ITEMS, np.float32),
        np.zeros(3 * ITEMS),
    )
    for some in (few, Histories.of(everything, 3)):
        assert np.isfinite(retrieval_targets(CODES[:3], some, network())).all()


def test_codes_and_vectors_without_any_spread_give_the_mean() -> None:
    constant = np.tile(network()[:1], (ITEMS, 1))
    np.testing.assert_allclose(retrieval_targets(np.zeros_like(CODES), HISTORIES, constant), constant, atol=1e-5)
