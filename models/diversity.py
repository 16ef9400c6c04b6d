"""The shape of a list: maximal marginal relevance, and at most so many items of a category.

Carbonell and Goldstein 1998, The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing
Summaries (SIGIR). Items are taken one by one; the next is the one with the largest

    (1 - d) * relevance(i)  -  d * max over the taken j of similarity(i, j),        d the diversity in [0, 1]

Both terms lie in [0, 1]. The relevance is the score, moved and scaled so that the best candidate has 1 and the last
has 0. The similarity is (1 + cosine) / 2 of the items' vectors. So d = 0 is the plain ranking, and with d = 1 only the
first item is taken for its score.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Sequence
from typing import Final

import numpy as np

from models.arrays import Doubles, Floats, Ints

# An item is compared with so many others for each place of the list, and never with fewer than LEAST.
_POOL: Final = 4
_LEAST: Final = 100


def pool_size(k: int) -> int:
    """Return how many candidates a list of ``k`` is chosen from."""
    return max(_POOL * k, _LEAST)


class CategoryCap:
    """At most ``limit`` items of each category; what belongs to several counts in each of them."""

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"a category must have room for at least 1 item, not {limit}")
        self._limit = limit
        self._counts: Counter[Hashable] = Counter()

    def admits(self, categories: Collection[Hashable]) -> bool:
        """Return whether there is room in all of ``categories``; an item without any always has it."""
        return all(self._counts[category] < self._limit for category in categories)

    def add(self, categories: Collection[Hashable]) -> list[Hashable]:
        """Count an item; return those of its categories that are full now."""
        self._counts.update(set(categories))
        return [category for category in set(categories) if self._counts[category] == self._limit]

    @property
    def full(self) -> set[Hashable]:
        """The categories that have no room."""
        return {category for category, count in self._counts.items() if count >= self._limit}


def select(
    scores: Floats,
    k: int,
    *,
    diversity: float = 0.0,
    vectors: Floats | None = None,
    categories: Sequence[Collection[Hashable]] | None = None,
    cap: CategoryCap | None = None,
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
    value = relevance.copy() if diversity == 0 else (1 - diversity) * relevance
    nearest = np.full(len(scores), -1.0)
    members = _members(categories) if cap is not None and categories is not None else {}
    if cap is not None and categories is not None:
        value[[not cap.admits(own) for own in categories]] = -np.inf
    chosen: list[int] = []
    while len(chosen) < min(k, len(scores)):
        best = int(np.argmax(value))
        if value[best] == -np.inf:
            break
        chosen.append(best)
        closed = value == -np.inf
        closed[best] = True
        if cap is not None and categories is not None:
            for category in cap.add(categories[best]):
                closed[members[category]] = True
        if diversity > 0 and vectors is not None:
            np.maximum(nearest, vectors @ vectors[best], out=nearest)
            value = (1 - diversity) * relevance - diversity * (1 + nearest) / 2
        value[closed] = -np.inf
    return np.asarray(chosen, np.int64)


def _relevance(scores: Floats) -> Doubles:
    """Return the scores in [0, 1], float64 ``[n]``; all 0 where they are equal."""
    wide = scores.astype(np.float64)
    if not len(wide):
        return wide
    spread = wide.max() - wide.min()
    relevance: Doubles = (wide - wide.min()) / (spread or 1.0)
    return relevance


def _members(categories: Sequence[Collection[Hashable]]) -> dict[Hashable, list[int]]:
    members: dict[Hashable, list[int]] = defaultdict(list)
    for candidate, own in enumerate(categories):
        for category in set(own):
            members[category].append(candidate)
    return members
