from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.arrays import Floats, unit_rows
from models.diversity import CategoryCap, pool_size, select


class Case(NamedTuple):
    scores: Floats
    vectors: Floats
    categories: list[list[str]]
    k: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Candidates best first, with ties among scores and vectors, and none to two categories each."""
    n = draw(st.integers(0, 25))
    scores = np.sort(np.array(draw(st.lists(st.integers(-9, 9), min_size=n, max_size=n)), np.float32))[::-1]
    rows = [draw(st.lists(st.integers(-2, 2), min_size=3, max_size=3)) for _ in range(n)]
    vectors = unit_rows(np.array(rows, np.float32).reshape(n, 3))
    categories = [draw(st.lists(st.sampled_from("abc"), max_size=2)) for _ in range(n)]
    return Case(scores.copy(), vectors, categories, draw(st.integers(1, 30)))


def _value(case: Case, taken: list[int], item: int, diversity: float) -> float:
    low, high = float(case.scores.min()), float(case.scores.max())
    relevance = (float(case.scores[item]) - low) / (high - low) if high > low else 0.0
    if not taken:
        return (1 - diversity) * relevance
    least = min(float(other @ case.vectors[0]) for other in case.vectors)
    nearest = max(float(case.vectors[item] @ case.vectors[other]) for other in taken)
    return (1 - diversity) * relevance - diversity * (nearest - least) / max(1 - least, 1e-6)


@given(cases(), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.sampled_from([None, 1, 2]))
def test_it_is_the_formula(case: Case, diversity: float, limit: int | None) -> None:
    cap = None if limit is None else CategoryCap[str](limit)
    found = select(
        case.scores, case.k, diversity=diversity, vectors=case.vectors, categories=case.categories, cap=cap
    ).tolist()
    assert len(found) == len(set(found)) <= case.k
    # Carbonell and Goldstein's formula, item by item. Where two are equal but for rounding either may be taken, and
    # with a cap all that follows may be different.
    for place in range(len(found) + 1):
        taken = found[:place]
        counts = Counter(name for item in taken for name in set(case.categories[item]))
        values = {
            item: _value(case, taken, item, diversity)
            for item in set(range(len(case.scores))) - set(taken)
            if limit is None or all(counts[name] < limit for name in case.categories[item])
        }
        if place < len(found):
            assert values[found[place]] == pytest.approx(max(values.values()), abs=1e-6)
        else:
            assert not values or len(found) == case.k


@given(cases())
def test_without_diversity_it_is_the_plain_ranking(case: Case) -> None:
    expected = list(range(min(case.k, len(case.scores))))
    assert select(case.scores, case.k).tolist() == expected
    assert select(case.scores, case.k, diversity=0.0, vectors=case.vectors).tolist() == expected


@given(cases(), st.integers(1, 3), st.floats(0, 1))
def test_no_category_has_more_than_its_share(case: Case, limit: int, diversity: float) -> None:
    cap = CategoryCap[str](limit)
    found = select(case.scores, case.k, diversity=diversity, vectors=case.vectors, categories=case.categories, cap=cap)
    counts = Counter(name for item in found for name in set(case.categories[item]))
    assert all(count <= limit for count in counts.values())
    assert cap.full == {name for name, count in counts.items() if count == limit}
    if len(found) < min(case.k, len(case.scores)):
        left = set(range(len(case.scores))) - set(found.tolist())
        assert not any(cap.admits(case.categories[item]) for item in left)


@given(cases(), st.integers(1, 3), st.integers(0, 25))
def test_a_cap_goes_on_where_the_candidates_ran_out(case: Case, limit: int, cut: int) -> None:
    """The first candidates and then the rest give the same as all at once."""
    categories = case.categories
    whole = select(case.scores, case.k, categories=categories, cap=CategoryCap[str](limit)).tolist()
    cap = CategoryCap[str](limit)
    first = select(case.scores[:cut], case.k, categories=categories[:cut], cap=cap).tolist()
    if len(first) < case.k:
        rest = select(case.scores[cut:], case.k - len(first), categories=categories[cut:], cap=cap)
        first += (rest + cut).tolist()
    assert first == whole


def test_it_works_where_all_vectors_lie_close_together() -> None:
    """The last of the four is as far from the first as it gets among them, though their cosine is .9998."""
    angles = np.array([0.0, 0.0, 0.001, 0.02])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    scores = np.array([1.0, 0.99, 0.98, 0.6], np.float32)
    assert select(scores, 2, diversity=0.6, vectors=vectors).tolist() == [0, 3]


def test_the_same_thing_twice_is_put_off() -> None:
    scores = np.array([1.0, 0.9, 0.5, 0.0], np.float32)
    vectors = np.array([[1, 0], [1, 0], [0, 1], [-1, 0]], np.float32)
    assert select(scores, 2, diversity=0.5, vectors=vectors).tolist() == [0, 2]
    assert select(scores, 2, diversity=1.0, vectors=vectors).tolist() == [0, 3]
    assert select(scores, 2, diversity=0.1, vectors=vectors).tolist() == [0, 1]


@pytest.mark.parametrize("diversity", [-0.1, 1.1, float("nan")])
def test_a_diversity_outside_its_range_is_refused(diversity: float) -> None:
    with pytest.raises(ValueError, match="diversity"):
        select(np.ones(1, np.float32), 1, diversity=diversity, vectors=np.ones((1, 1), np.float32))


def test_what_is_needed_must_be_there() -> None:
    with pytest.raises(ValueError, match="vectors"):
        select(np.ones(1, np.float32), 1, diversity=0.5)
    with pytest.raises(ValueError, match="categories"):
        select(np.ones(1, np.float32), 1, cap=CategoryCap[str](1))
    with pytest.raises(ValueError, match="at least 1"):
        CategoryCap[str](0)


def test_the_pool_has_room_for_the_list() -> None:
    assert [pool_size(k) for k in (1, 50, 600, 1000, 3000)] == [100, 200, 2000, 2000, 3000]
