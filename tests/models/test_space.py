from __future__ import annotations

import numpy as np
import pytest

from models.arrays import Floats, Ints
from models.bundle import Bundle, ModelParts
from models.interaction import weighted_bags
from models.space import InteractionSpace, LatentSpace, Placement
from models.training import Trained
from tests.models import boards

ITEMS = np.arange(boards.SIDE)


def placed(model: ModelParts | Bundle) -> Placement:
    """Place the items of the board, as a recommender would."""
    content = model.content
    latents = content.latents(content.encode(boards.colours(boards.SIDE))[0]) if content else None
    return model.space.place(boards.names(), latents, np.full(boards.SIDE, content is not None))


def scores(space: LatentSpace, items: Placement, history: Ints) -> Floats:
    """Return the score of each item for one history; what is in it scores -inf."""
    indptr = np.array([0, len(history)])
    codes = space.user_codes(space.bags(items.embeddings, indptr, history, np.ones(len(history), np.float32)))
    own: Floats = (items.retrieval @ np.append(codes[0], np.float32(1))).astype(np.float32)
    own[history] = -np.inf
    return own


def test_the_missing_item_of_the_checker_board_is_recommended(
    trained_both: Trained, trained_interactions: Trained
) -> None:
    for trained in (trained_both, trained_interactions):
        items = placed(trained.parts)
        for user in ITEMS:
            history = ITEMS[(user % 2 == ITEMS % 2) & (user != ITEMS)]
            assert scores(trained.parts.space, items, history).argmax() == user


def test_similar_items_have_the_same_colour(trained: Trained) -> None:
    vectors = placed(trained.parts).retrieval[:, :-1]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    nearest = np.argsort(-cosines, axis=1)[:, :5]
    assert (nearest % 2 == ITEMS[:, None] % 2).all()


def test_content_alone_recommends_the_same_colour(trained_content: Trained) -> None:
    items = placed(trained_content.parts)
    best = np.argsort(-scores(trained_content.parts.space, items, np.array([2, 8])))[:10]
    assert (best % 2 == 0).all()
    assert (items.retrieval[:, -1] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(items.embeddings, axis=1), 1, rtol=1e-6)


def test_the_bridge_places_an_unseen_item_near_its_like(trained_both: Trained) -> None:
    content, space = trained_both.parts.content, trained_both.parts.space
    assert content is not None
    codes = content.codes(boards.colours(2, seed=77))
    new = space.place(["new-even", "new-odd"], content.latents(codes), np.ones(2, bool))
    assert new.known.all()
    items = placed(trained_both.parts)
    everything = Placement(
        np.append(items.known, new.known),
        np.concatenate([items.retrieval, new.retrieval]),
        np.concatenate([items.embeddings, new.embeddings]),
    )
    even, odd = boards.SIDE, boards.SIDE + 1
    for user in (0, 1):
        own = scores(space, everything, ITEMS[user == ITEMS % 2])
        assert (own[even] > own[odd]) == (user == 0)
        # It also beats the known items of the other colour.
        assert own[even + user] > own[ITEMS[user != ITEMS % 2]].max()
    # A history of nothing but the new item already says what its owner likes.
    assert np.argsort(-scores(space, everything, np.array([odd])))[0] % 2 == 1


def test_an_item_with_neither_interactions_nor_features_is_not_known(trained: Trained) -> None:
    content = trained.parts.content
    latents = np.ones((2, content.latent_dim), np.float32) if content else None
    has_latent = np.array([False, content is not None])
    placement = trained.parts.space.place(["nobody", "nobody-2"], latents, has_latent)
    assert placement.known.tolist() == has_latent.tolist()
    assert not placement.retrieval[0].any()
    assert not placement.embeddings[0].any()
    assert placement.retrieval.dtype == placement.embeddings.dtype == np.float32


def test_a_history_does_not_depend_on_its_company(trained: Trained) -> None:
    space, items = trained.parts.space, placed(trained.parts)
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 40, 600)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    indices = rng.integers(0, boards.SIDE, indptr[-1])
    weights = rng.uniform(0.1, 5, indptr[-1]).astype(np.float32)
    codes = space.user_codes(space.bags(items.embeddings, indptr, indices, weights))
    assert codes.shape == (600, space.dim)
    for user in (0, 1, 255, 256, 599):
        rows = slice(indptr[user], indptr[user + 1])
        own_indptr = np.array([0, lengths[user]])
        # Only the needed embeddings, renumbered, as a recommender gathers them.
        needed, inverse = np.unique(indices[rows], return_inverse=True)
        bags = space.bags(items.embeddings[needed], own_indptr, inverse, weights[rows])
        assert space.user_codes(bags).tobytes() == codes[user].tobytes()


def test_bags_by_hand() -> None:
    embeddings = np.array([[1, 0], [0, 2], [5, 5]], np.float32)
    bags = weighted_bags(embeddings, np.array([0, 2, 2, 3]), np.array([0, 1, 2]), np.array([3, 4, 7], np.float32))
    np.testing.assert_allclose(bags, np.array([[0.6, 1.6], [0, 0], [5, 5]]), rtol=1e-6)


def test_a_bag_may_have_an_item_twice_and_extreme_weights() -> None:
    embeddings = np.array([[1, 0], [0, 1]], np.float32)
    bags = weighted_bags(embeddings, np.array([0, 3]), np.array([1, 0, 1]), np.array([1e6, 1e-6, 1e6], np.float32))
    np.testing.assert_allclose(bags, [[0, 2**0.5]], atol=1e-6)


def test_arrays_of_another_width_are_refused(trained_both: Trained) -> None:
    space = trained_both.parts.space
    assert isinstance(space, InteractionSpace)
    with pytest.raises(ValueError, match="shape"):
        space.user_codes(np.zeros((1, space.embedding_dim + 1), np.float32))
