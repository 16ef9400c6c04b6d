from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from models.arrays import Floats, Ints, Mask
from models.index import LatentIndex
from models.index_parts import LARGEST_FETCH, SealedPart, Top

DIM = 5
RNG = np.random.default_rng(0)


def brute_force(live: dict[int, Floats], query: Floats, k: int, exclude: Ints) -> tuple[Floats, Ints]:
    """Return what the index must answer, the slow way."""
    slots = np.array(sorted(live.keys() - set(exclude.tolist())), np.int64)
    scores = np.full(k, -np.inf, np.float32)
    found = np.full(k, -1, np.int64)
    if len(slots):
        own = np.array([np.add.reduce(live[slot].astype(np.float64) * query.astype(np.float64)) for slot in slots])
        best = np.lexsort((slots, -own.astype(np.float32)))[:k]
        scores[: len(best)], found[: len(best)] = own[best], slots[best]
    return scores, found


def seeded_vectors(seed: int, count: int) -> Floats:
    """Small whole numbers half of the time, so that scores tie often."""
    rng = np.random.default_rng(seed)
    if seed % 2:
        return rng.integers(-2, 3, (count, DIM)).astype(np.float32)
    return rng.normal(0, 10.0 ** rng.integers(-3, 4), (count, DIM)).astype(np.float32)


class AgainstBruteForce(RuleBasedStateMachine):
    """Any order of upserts, removals, searches and background sealings gives the exact answer."""

    def __init__(self) -> None:
        super().__init__()
        self.index = LatentIndex(DIM, seal_share=0.2, min_delta=8)
        self.live: dict[int, Floats] = {}

    @rule(slots=st.lists(st.integers(0, 40), max_size=25), seed=st.integers(0, 1000))
    def upsert(self, slots: list[int], seed: int) -> None:
        vectors = seeded_vectors(seed, len(slots))
        self.index.upsert(np.array(slots, np.int64), vectors)
        self.live |= dict(zip(slots, vectors, strict=True))

    @rule(slots=st.lists(st.integers(-3, 45), max_size=15))
    def remove(self, slots: list[int]) -> None:
        self.index.remove(np.array(slots, np.int64))
        for slot in slots:
            self.live.pop(slot, None)

    @rule(
        seed=st.integers(0, 1000),
        k=st.integers(1, 50),
        excludes=st.lists(st.lists(st.integers(-1, 60), max_size=30), min_size=1, max_size=4),
    )
    def search(self, seed: int, k: int, excludes: list[list[int]]) -> None:
        queries = seeded_vectors(seed, len(excludes))
        exclude = [np.array(one, np.int64) for one in excludes]
        scores, slots = self.index.search(queries, k, exclude)
        for row, query in enumerate(queries):
            expected_scores, expected_slots = brute_force(self.live, query, k, exclude[row])
            assert np.array_equal(slots[row], expected_slots)
            assert np.array_equal(scores[row], expected_scores)

    @rule(
        seed=st.integers(0, 1000),
        k=st.integers(1, 50),
        allowed=st.lists(st.booleans(), max_size=60),
        excludes=st.lists(st.lists(st.integers(-1, 60), max_size=30), min_size=1, max_size=4),
        few=st.sampled_from([0, 5, 1000]),
    )
    def search_allowed(self, seed: int, k: int, allowed: list[bool], excludes: list[list[int]], few: int) -> None:
        queries = seeded_vectors(seed, len(excludes))
        exclude = [np.array(one, np.int64) for one in excludes]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("models.index._FEW", few)
            scores, slots = self.index.search(queries, k, exclude, np.array(allowed, bool))
        live = {slot: vector for slot, vector in self.live.items() if slot < len(allowed) and allowed[slot]}
        for row, query in enumerate(queries):
            expected_scores, expected_slots = brute_force(live, query, k, exclude[row])
            assert np.array_equal(slots[row], expected_slots)
            assert np.array_equal(scores[row], expected_scores)

    @rule()
    def wait(self) -> None:
        self.index.wait_sealed()

    @invariant()
    def has_the_live_vectors(self) -> None:
        assert len(self.index) == len(self.live)
        slots = np.array(sorted(self.live), np.int64)
        expected = np.array([self.live[slot] for slot in slots], np.float32).reshape(-1, DIM)
        assert np.array_equal(self.index.vectors(slots), expected)

    def teardown(self) -> None:
        self.index.close()


TestAgainstBruteForce = AgainstBruteForce.TestCase
TestAgainstBruteForce.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def filled(count: int, **kwargs: Any) -> tuple[LatentIndex, Floats]:
    vectors = np.random.default_rng(1).normal(size=(count, DIM)).astype(np.float32)
    index = LatentIndex(DIM, **kwargs)
    index.upsert(np.arange(count), vectors)
    return index, vectors


def test_tombstones_are_what_was_replaced_or_removed_until_a_new_part_is_built() -> None:
    index, vectors = filled(20, min_delta=10)
    index.wait_sealed()
    assert index.tombstones == 0
    index.upsert(np.arange(3), vectors[3:6])
    index.remove(np.array([7, 8, 99]))
    assert index.tombstones == 5
    index.upsert(np.arange(20), vectors)
    index.wait_sealed()
    assert (index.tombstones, len(index)) == (0, 20)
    index.close()


def test_results_do_not_depend_on_batch_size_or_on_what_is_sealed() -> None:
    sealed, vectors = filled(3000, min_delta=1)
    sealed.wait_sealed()
    delta, _ = filled(3000, min_delta=10_000)
    halves = LatentIndex(DIM, min_delta=1400, seal_share=1)
    for half in (np.arange(1500), np.arange(1500, 3000)):
        halves.upsert(half, vectors[half])
        halves.wait_sealed()
    # FAISS uses another kernel from 20 queries on.
    queries = RNG.normal(size=(64, DIM)).astype(np.float32)
    expected_scores, expected_slots = sealed.search(queries, 20)
    for index in (sealed, delta, halves):
        for size in (1, 3, 19, 20, 64):
            parts = [index.search(queries[start : start + size], 20) for start in range(0, 64, size)]
            assert np.concatenate([scores for scores, _ in parts]).tobytes() == expected_scores.tobytes()
            assert np.concatenate([slots for _, slots in parts]).tobytes() == expected_slots.tobytes()


def test_exact_where_float32_is_not() -> None:
    # Large parts cancel, so that float32 sums are wrong by more than the scores differ.
    base = np.full((400, DIM), 1e4, np.float32)
    base[:, 1] = -1e4
    base[:, 2] = RNG.permutation(400) * 1e-4
    index = LatentIndex(DIM, min_delta=1)
    index.upsert(np.arange(400), base)
    index.wait_sealed()
    query = np.array([[1e4, 1e4, 1, 0, 0]], np.float32)
    assert np.array_equal(index.search(query, 10)[1][0], np.argsort(-base[:, 2])[:10])


def test_equal_scores_follow_the_given_order() -> None:
    index = LatentIndex(DIM)
    index.upsert(np.arange(6), np.ones((6, DIM), np.float32), order=np.array([3, 1, 2, -7, 1, 9]))
    assert index.search(np.ones((1, DIM), np.float32), 6)[1].tolist() == [[3, 1, 4, 2, 0, 5]]


def test_a_zero_query_over_many_ties_is_still_exact() -> None:
    index, _ = filled(5000, min_delta=1)
    index.wait_sealed()
    assert index.search(np.zeros((1, DIM), np.float32), 3, [np.array([0, 2])])[1].tolist() == [[1, 3, 4]]


def allowed_top(vectors: Floats, query: Floats, k: int, allowed: Mask) -> Ints:
    """Return the best allowed rows, where none tie."""
    scores = vectors.astype(np.float64) @ query.astype(np.float64)
    scores[~allowed] = -np.inf
    return np.argsort(-scores, kind="stable")[:k]


@pytest.mark.parametrize("matching", [10, 3_000, 30_000, 59_000])
def test_a_filter_that_few_or_many_match_is_exact(matching: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.index._FEW", 5_000)
    monkeypatch.setattr("models.index_parts.LARGEST_FLAT", 60_000)
    index, vectors = filled(60_000, min_delta=1)
    index.wait_sealed()
    allowed = np.zeros(60_000, bool)
    allowed[RNG.permutation(60_000)[:matching]] = True
    queries = RNG.normal(size=(5, DIM)).astype(np.float32)
    for k in (1, 10, 700):
        slots = index.search(queries, k, None, allowed)[1]
        for query, found in zip(queries, slots, strict=True):
            expected = allowed_top(vectors, query, min(k, matching), allowed)
            assert np.array_equal(found[: len(expected)], expected)
            assert (found[len(expected) :] == -1).all()


@pytest.mark.parametrize("worst", [100, 30_000])
def test_a_filter_that_only_the_worst_match_is_exact(worst: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And FAISS is never asked for nearly all rows."""
    monkeypatch.setattr("models.index._FEW", 5_000)
    monkeypatch.setattr("models.index_parts.LARGEST_FLAT", 60_000)
    index, vectors = filled(60_000, min_delta=1)
    index.wait_sealed()
    query = RNG.normal(size=(1, DIM)).astype(np.float32)
    allowed = np.zeros(60_000, bool)
    allowed[np.argsort(vectors @ query[0])[:worst]] = True
    fetched = []
    search = SealedPart.search

    def watched(part: SealedPart, queries: Floats, fetch: int) -> Top:
        fetched.append(fetch)
        return search(part, queries, fetch)

    monkeypatch.setattr(SealedPart, "search", watched)
    found = index.search(query, 10, [np.arange(50)], allowed)[1][0]
    allowed[:50] = False
    assert np.array_equal(found, allowed_top(vectors, query[0], 10, allowed))
    assert len(fetched) == (worst > 5_000)
    assert all(fetch <= LARGEST_FETCH for fetch in fetched)


def test_many_ties_among_what_is_allowed_follow_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.index._FEW", 5_000)
    index, _ = filled(30_000, min_delta=1)
    index.wait_sealed()
    allowed = np.zeros(30_000, bool)
    allowed[7::3] = True
    zero = np.zeros((1, DIM), np.float32)
    assert index.search(zero, 3, [np.array([10])], allowed)[1].tolist() == [[7, 13, 16]]
    assert index.search(zero, 3, None, ~allowed)[1].tolist() == [[0, 1, 2]]


def test_a_mask_that_allows_nothing_finds_nothing() -> None:
    index, vectors = filled(10)
    for allowed in (np.zeros(10, bool), np.zeros(0, bool), np.zeros(5000, bool)):
        assert index.search(vectors[:2], 2, None, allowed)[1].tolist() == [[-1, -1], [-1, -1]]


def test_short_rows_are_padded() -> None:
    index, _ = filled(2)
    scores, slots = index.search(np.ones((1, DIM), np.float32), 4, [np.array([1])])
    assert slots.tolist() == [[0, -1, -1, -1]]
    assert np.isneginf(scores[0, 1:]).all()
    assert LatentIndex(DIM).search(np.ones((2, DIM), np.float32), 1)[1].tolist() == [[-1], [-1]]
    assert index.search(np.empty((0, DIM), np.float32), 3)[1].shape == (0, 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e20])
def test_numbers_that_cannot_be_ranked_are_refused(bad: float) -> None:
    index, vectors = filled(3)
    broken = vectors[:1].copy()
    broken[0, 2] = bad
    with pytest.raises(ValueError, match="vectors"):
        index.upsert(np.array([1]), broken)
    with pytest.raises(ValueError, match="queries"):
        index.search(broken, 1)
    assert np.array_equal(index.vectors(np.arange(3)), vectors)


def test_wrong_arguments_are_refused() -> None:
    index, vectors = filled(3)
    with pytest.raises(ValueError, match="negative"):
        index.upsert(np.array([-1]), vectors[:1])
    with pytest.raises(ValueError, match="as many slots"):
        index.upsert(np.array([1, 2]), vectors[:1])
    with pytest.raises(ValueError, match="shape"):
        index.search(np.zeros((1, DIM + 1), np.float32), 1)
    with pytest.raises(ValueError, match="exclude"):
        index.search(vectors, 1, [np.empty(0, np.int64)])
    with pytest.raises(ValueError, match="at least 1"):
        index.search(vectors, 0)
    with pytest.raises(KeyError, match="slot 7"):
        index.vectors(np.array([1, 7]))


def test_replacing_one_slot_for_ever_does_not_grow_the_index() -> None:
    index, _ = filled(10, min_delta=50)
    for step in range(400):
        index.upsert(np.array([3]), np.full((1, DIM), step, np.float32))
        index.wait_sealed()
    assert len(index) == 10
    assert index.row_count <= 10 + 51


def test_searches_go_on_while_a_part_is_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    building, go_on = threading.Event(), threading.Event()

    def slow(*args: Any) -> Any:
        building.set()
        assert go_on.wait(60)
        return SealedPart(*args)

    index, vectors = filled(20, min_delta=30)
    monkeypatch.setattr("models.index_rows.SealedPart", slow)
    index.upsert(np.arange(20, 40), vectors)
    assert building.wait(60)
    # While the new part is built: one slot replaced, one removed, one new.
    index.upsert(np.array([5, 99]), np.array([[9] * DIM, [8] * DIM], np.float32))
    index.remove(np.array([25]))
    query = np.ones((1, DIM), np.float32)
    before = index.search(query, 50)
    go_on.set()
    index.wait_sealed()
    after = index.search(query, 50)
    assert np.array_equal(before[1], after[1])
    assert np.array_equal(before[0], after[0])
    assert after[1][0, :2].tolist() == [5, 99]
    assert 25 not in after[1]
    assert len(index) == 40


def test_what_is_filled_is_sealed_once_at_the_end() -> None:
    index = LatentIndex(4, min_delta=10)
    vectors = np.random.default_rng(0).standard_normal((100, 4)).astype(np.float32)
    with index.filling():
        for start in range(0, 100, 20):
            index.upsert(np.arange(start, start + 20), vectors[start : start + 20])
            assert not index.sealing
        assert index.search(vectors[:1], 1)[1][0, 0] >= 0
    index.wait_sealed()
    assert index.built
    assert len(index._delta) == 0
    index.close()


def test_a_failure_in_the_background_reaches_the_next_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(dim: int, *_: Any) -> Any:
        raise MemoryError(f"no room for vectors of {dim} dimensions")

    index, vectors = filled(4, min_delta=5)
    monkeypatch.setattr("models.index_rows.SealedPart", fail)
    index.upsert(np.arange(10, 14), vectors)
    with pytest.raises(RuntimeError, match="sealed part failed") as caught:
        index.wait_sealed()
    assert isinstance(caught.value.__cause__, MemoryError)
    with pytest.raises(RuntimeError):
        index.search(vectors, 1)


def test_a_closed_index_refuses_use() -> None:
    index, vectors = filled(3)
    index.close()
    with pytest.raises(RuntimeError, match="closed"):
        index.search(vectors, 1)
