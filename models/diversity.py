"""The shape of a list: maximal marginal relevance, and at most so many items of a category.

Carbonell and Goldstein 1998, The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing
Summaries (SIGIR). Items are taken one by one; the next is the one with the largest

    (1 - d) * relevance(i)  -  d * max over the taken j of similarity(i, j),        d the diversity in [0, 1]

Both are measured by the range that they have among the candidates, for a model may have any scores, and vectors that
all lie in one cone. The relevance is the score, moved and scaled so that the best candidate has 1 and the last has 0.
The similarity is the cosine of the items' vectors, moved and scaled so that the same direction has 1, and the best
candidate has 0 with the one that is least like it. So d = 0 is the plain ranking, and with d = 1 only the first item is
taken for its score.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Sequence
from typing import Final, Generic, TypeVar

import numpy as np

from models.arrays import Doubles, Floats, Ints

# A list is chosen from so many candidates for each of its places, but not from fewer or more than these: the time it
# takes grows with places times candidates.
_POOL: Final = 4
_LEAST: Final = 100
_MOST: Final = 2000
# Cosines that differ by less are equal.
_SAME: Final = 1e-6


def pool_size(k: int) -> int:
    """Return how many candidates a list of ``k`` is chosen from."""
    return max(min(max(_POOL * k, _LEAST), _MOST), k)


_Category = TypeVar("_Category", bound=Hashable)


class CategoryCap(Generic[_Category]):
    """At most ``limit`` items of each category; what belongs to several counts in each of them."""

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"a category must have room for at least 1 item, not {limit}")
        self._limit = limit
        self._counts: Counter[_Category] = Counter()

    def admits(self, categories: Collection[_Category]) -> bool:
        """Return whether there is room in all of ``categories``; an item without any always has it."""
        return all(self._counts[category] < self._limit for category in categories)

    def add(self, categories: Collection[_Category]) -> list[_Category]:
        """Count an item; return those of its categories that are full now."""
        self._counts.update(set(categories))
        return [category for category in set(categories) if self._counts[category] == self._limit]

    @property
    def full(self) -> set[_Category]:
        """The categories that have no room."""
        return {category for category, count in self._counts.items() if count >= self._limit}


def select(
    scores: Floats,
    k: int,
    *,
    diversity: float = 0.0,
    vectors: Floats | None = None,
    categories: Sequence[Collection[_Category]] | None = None,
    cap: CategoryCap[_Category] | None = None,
) -> Ints:
    """Return which candidates make the list, int64 ``[at most k]``, in its order.

    Fewer than ``k`` come back only where nothing is left that ``cap`` admits. Between equals the earlier candidate
    is taken.

    Args:
        scores: float32 ``[n]``, the largest first.
        k: length of the list.
        diversity: d above.
        vectors: of length 1 (or 0), float32 ``[n, dim]``; needed where ``diversity`` is not 0.
        categories: of each candidate; needed with ``cap``.
        cap: what is taken is counted in it.

    Raises:
        ValueError: ``diversity`` is outside [0, 1], or what it or ``cap`` needs is missing.
    """
    if not 0 <= diversity <= 1:
        raise ValueError(f"diversity must be in [0, 1], not {diversity}")
    if (diversity > 0 and vectors is None) or (cap is not None and categories is None):
        raise ValueError("diversity needs the vectors, a cap the categories of the candidates")
    relevance = _relevance(scores)
    similarity = _Similarity(vectors) if diversity > 0 and vectors is not None else None
    value = (1 - diversity) * relevance if similarity is not None else relevance.copy()
    closed = np.zeros(len(scores), np.bool_)
    members: dict[_Category, list[int]] = {}
    if cap is not None and categories is not None:
        members = _members(categories)
        if cap.full:
            closed[:] = [not cap.admits(own) for own in categories]
    chosen: list[int] = []
    while len(chosen) < k and not closed.all():
        best = int(np.argmax(np.where(closed, -np.inf, value)))
        chosen.append(best)
        closed[best] = True
        if cap is not None and categories is not None:
            for category in cap.add(categories[best]):
                closed[members[category]] = True
        if similarity is not None:
            value = (1 - diversity) * relevance - diversity * similarity.with_taken(best)
    return np.asarray(chosen, np.int64)


class _Similarity:
    """The largest similarity of each candidate with one that is taken."""

    def __init__(self, vectors: Floats) -> None:
        self._vectors = vectors
        self._low = float((vectors @ vectors[0]).min()) if len(vectors) else 0.0
        self._nearest = np.full(len(vectors), -np.inf)

    def with_taken(self, taken: int) -> Doubles:
        """Return it, float64 ``[n]``, when ``taken`` is taken too."""
        np.maximum(self._nearest, self._vectors @ self._vectors[taken], out=self._nearest)
        scaled: Doubles = (self._nearest - self._low) / max(1 - self._low, _SAME)
        return scaled


def _relevance(scores: Floats) -> Doubles:
    """Return the scores in [0, 1], float64 ``[n]``; all 0 where they are equal."""
    wide = scores.astype(np.float64)
    if not len(wide):
        return wide
    spread = wide.max() - wide.min()
    relevance: Doubles = (wide - wide.min()) / (spread or 1.0)
    return relevance


def _members(categories: Sequence[Collection[_Category]]) -> dict[_Category, list[int]]:
    members: dict[_Category, list[int]] = defaultdict(list)
    for candidate, own in enumerate(categories):
        for category in set(own):
            members[category].append(candidate)
    return members
