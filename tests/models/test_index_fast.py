"""The approximate search among many rows: what it promises, with few rows and a small limit."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from models.arrays import Floats, Ints
from models.index import LatentIndex

DIM = 12
ROWS = 6_000


@pytest.fixture(autouse=True)
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.index_parts.LARGEST_FLAT", 1_000)


def clustered(count: int, seed: int, dim: int = DIM) -> Floats:
    """Return vectors around 200 centres, which do not depend on the seed."""
    centres = np.random.default_rng(99).normal(size=(200, dim))
    rng = np.random.default_rng(seed)
    vectors: Floats = (centres[rng.integers(0, 200, count)] + rng.normal(0, 0.3, (count, dim))).astype(np.float32)
    return vectors


def sealed(vectors: Floats, **kwargs: Any) -> LatentIndex:
    index = LatentIndex(vectors.shape[1], min_delta=100, **kwargs)
    index.upsert(np.arange(len(vectors)), vectors)
    index.wait_sealed()
    return index


def true_scores(queries: Floats, vectors: Floats) -> Floats:
    """Return all inner products as the index must give them, ``[q, n]``."""
    return np.array([np.add.reduce(vectors * query.astype(np.float64), axis=1) for query in queries], np.float32)


def best(scores: Floats, k: int) -> Ints:
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def test_most_of_the_best_are_found_and_their_scores_are_exact() -> None:
    vectors, queries = clustered(ROWS, 1), clustered(300, 2)
    index = sealed(vectors)
    assert index.recall is not None
    assert index.recall >= 0.99
    exact = true_scores(queries, vectors)
    scores, slots = index.search(queries, 10)
    hits = [len(np.intersect1d(own, expected)) for own, expected in zip(slots, best(exact, 10), strict=True)]
    assert np.mean(hits) >= 9.9
    assert np.array_equal(scores, np.take_along_axis(exact, slots, axis=1))
    assert (np.diff(scores, axis=1) <= 0).all()


def test_few_rows_are_searched_exactly() -> None:
    assert sealed(clustered(1_000, 1)).recall is None


def test_what_the_codes_cannot_tell_apart_is_searched_exactly() -> None:
    """A few rows are very long in a direction of their own, which four bits a dimension do not show."""
    rng = np.random.default_rng(3)
    vectors = rng.standard_cauchy((ROWS, DIM)).astype(np.float32) ** 3
    vectors = vectors.clip(-1e9, 1e9)
    index = sealed(vectors)
    assert index.recall is None
    queries = rng.normal(size=(50, DIM)).astype(np.float32)
    exact = true_scores(queries, vectors)
    assert np.array_equal(index.search(queries, 10)[1], best(exact, 10))


def test_changes_count_at_once() -> None:
    vectors = clustered(ROWS, 1)
    index = sealed(vectors)
    query = vectors[:1]
    first = int(index.search(query, 1)[1][0, 0])
    index.remove(np.array([first]))
    assert first not in index.search(query, 50)[1]
    index.upsert(np.array([7, ROWS + 5]), np.concatenate([3 * query, 2 * query]))
    scores, slots = index.search(query, 2)
    assert slots.tolist() == [[7, ROWS + 5]]
    assert np.array_equal(scores, true_scores(query, np.concatenate([3 * query, 2 * query])))
    index.upsert(np.array([7]), -query)
    assert index.search(query, 1)[1].tolist() == [[ROWS + 5]]


def test_removing_all_of_the_best_finds_the_next_ones() -> None:
    """The sealed part knows nothing of removals: more is fetched from it until enough of what it gives is there."""
    vectors = clustered(ROWS, 1)
    index = sealed(vectors, seal_share=1)
    query = clustered(1, 2)
    exact = true_scores(query, vectors)
    gone = best(exact, 700)[0]
    index.remove(gone)
    exact[0, gone] = -np.inf
    assert not index.sealing
    found = index.search(query, 10)[1][0]
    assert len(np.intersect1d(found, best(exact, 10)[0])) >= 9


def test_exclusions_are_left_out_and_made_up_for() -> None:
    vectors, queries = clustered(ROWS, 1), clustered(20, 2)
    index = sealed(vectors)
    exact = true_scores(queries, vectors)
    exclude = list(best(exact, 40))
    exclude[3] = np.arange(ROWS)
    scores, slots = index.search(queries, 10, exclude)
    hits = 0
    for query, own in enumerate(slots):
        assert not np.isin(own, exclude[query]).any()
        exact[query, exclude[query]] = -np.inf
        hits += len(np.intersect1d(own, best(exact, 10)[query]))
    assert slots[3].tolist() == [-1] * 10
    assert np.isneginf(scores[3]).all()
    assert hits >= 0.97 * 19 * 10


@pytest.mark.parametrize("matching", [0, 5, 60, 3_000])
def test_filters_are_exact(matching: int) -> None:
    vectors, queries = clustered(ROWS, 1), clustered(20, 2)
    index = sealed(vectors)
    allowed = np.zeros(ROWS, bool)
    allowed[np.random.default_rng(4).permutation(ROWS)[:matching]] = True
    exact = true_scores(queries, vectors)
    exact[:, ~allowed] = -np.inf
    slots = index.search(queries, 10, None, allowed)[1]
    expected = best(exact, 10)
    expected[np.isneginf(np.take_along_axis(exact, expected, axis=1))] = -1
    assert np.array_equal(slots, expected)


def test_equal_rows_come_in_their_order() -> None:
    vectors = clustered(ROWS, 1)
    vectors[100:105] = vectors[100]
    index = LatentIndex(DIM, min_delta=100)
    index.upsert(np.arange(ROWS), vectors, order=-np.arange(ROWS))
    index.wait_sealed()
    assert index.recall is not None
    slots = index.search(vectors[100:101], 50)[1][0].tolist()
    assert [slot for slot in slots if slot in range(100, 105)] == [104, 103, 102, 101, 100]


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
def test_rows_that_are_all_the_same_are_all_as_good(value: float) -> None:
    index = sealed(np.full((3_000, DIM), value, np.float32))
    scores, slots = index.search(np.ones((2, DIM), np.float32), 5)
    assert slots.tolist() == [[0, 1, 2, 3, 4]] * 2
    assert (scores == value * DIM).all()


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_narrow_vectors(dim: int) -> None:
    vectors = clustered(3_000, 1, dim)
    index = sealed(vectors)
    queries = clustered(50, 2, dim)
    exact = true_scores(queries, vectors)
    scores = index.search(queries, 10)[0]
    # By score: neighbours are so near that float32 often takes them for the same.
    least = np.take_along_axis(exact, best(exact, 10), axis=1)[:, -1:]
    assert np.mean(scores >= least) >= 0.98


def test_all_rows_can_be_asked_for() -> None:
    vectors = clustered(1_500, 1)
    slots = sealed(vectors).search(clustered(3, 2), 1_600)[1]
    assert (np.sort(slots[:, :1_500], axis=1) == np.arange(1_500)).all()
    assert (slots[:, 1_500:] == -1).all()


def test_recall_is_measured_with_what_is_asked() -> None:
    """Queries that lie between the rows need more than the rows themselves, and get it when enough were asked."""
    vectors = clustered(ROWS, 1)
    index = sealed(vectors)
    queries = np.random.default_rng(5).normal(size=(512, DIM)).astype(np.float32)
    for start in range(0, 512, 16):
        assert not index.sealing
        index.search(queries[start : start + 16], 10)
    index.wait_sealed()
    index.search(queries[:16], 10)
    assert not index.sealing
    assert index.recall is not None
    unseen = np.random.default_rng(6).normal(size=(300, DIM)).astype(np.float32)
    expected = best(true_scores(unseen, vectors), 10)
    slots = index.search(unseen, 10)[1]
    hits = [len(np.intersect1d(own, wanted)) for own, wanted in zip(slots, expected, strict=True)]
    assert np.mean(hits) >= 9.9


def test_a_first_build_is_tuned_by_what_is_expected() -> None:
    """As the test before, but nobody has to ask first."""
    vectors = clustered(ROWS, 1)
    index = LatentIndex(DIM)
    queries = np.random.default_rng(5).normal(size=(600, DIM)).astype(np.float32)
    with index.filling():
        index.upsert(np.arange(ROWS), vectors)
        index.expect(queries)
    index.wait_sealed()
    index.search(queries[:16], 10)
    assert not index.sealing, "it was not guessed"
    unseen = np.random.default_rng(6).normal(size=(300, DIM)).astype(np.float32)
    expected = best(true_scores(unseen, vectors), 10)
    slots = index.search(unseen, 10)[1]
    hits = [len(np.intersect1d(own, wanted)) for own, wanted in zip(slots, expected, strict=True)]
    assert np.mean(hits) >= 9.9
    assert index.recall is not None


def test_searches_during_rebuilds_are_right() -> None:
    """Items are replaced by the same vectors for a while, so that rebuilds follow each other."""
    vectors, queries = clustered(ROWS, 1), clustered(40, 2)
    index = sealed(vectors)
    expected = best(true_scores(queries, vectors), 10)
    stop = threading.Event()
    replaced = 0

    def replace() -> None:
        nonlocal replaced
        rng = np.random.default_rng(7)
        while not stop.is_set():
            slots = rng.integers(0, ROWS, 200)
            index.upsert(slots, vectors[slots])
            replaced += len(slots)

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        searched_while_sealing = 0
        while searched_while_sealing < 20:
            sealing = index.sealing
            slots = index.search(queries, 10)[1]
            hits = [len(np.intersect1d(own, wanted)) for own, wanted in zip(slots, expected, strict=True)]
            assert np.mean(hits) >= 9.7
            searched_while_sealing += sealing
    finally:
        stop.set()
        writer.join()
    index.wait_sealed()
    assert replaced > ROWS / 10
    assert len(index) == ROWS
    index.close()
