"""From candidates to a list: diversity, and at most so many items of a category."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.diversity import CategoryCap, pool_size, select
from schemas.events import Attribute
from schemas.filters import And, Filter, Not, OneOf, as_number
from workers.catalogue import Catalogue
from workers.wanted import Wanted


class Candidates(NamedTuple):
    """Items by slot, int64 ``[n]``, and their scores, float32 ``[n]``, the best first."""

    slots: NDArray[np.int64]
    scores: NDArray[np.float32]

    def take(self, rows: slice | NDArray[np.int64]) -> Self:
        """Return those candidates only."""
        return self._replace(slots=self.slots[rows], scores=self.scores[rows])

    def then(self, others: Candidates) -> Candidates:
        """Return these and the others."""
        return Candidates(np.concatenate([self.slots, others.slots]), np.concatenate([self.scores, others.scores]))

    def without_gaps(self) -> Self:
        """Return the candidates before the first slot -1, which is where a search found no more."""
        return self.take(slice(int(np.count_nonzero(self.slots >= 0))))


# A value of an attribute, with its type: 1 == True, and they are not the same category.
Category = tuple[str, str | float]
# Returns the best candidates that match a filter and are not among some slots, as many as there are up to a number.
More = Callable[[Filter | None, NDArray[np.int64], int], Candidates]


def fetch_size(wanted: Wanted) -> int:
    """Return how many candidates a list is chosen from at first."""
    return wanted.k if wanted.plain else pool_size(wanted.k)


def shaped(catalogue: Catalogue, wanted: Wanted, first: Candidates, more: More) -> Candidates:
    """Return the list that ``wanted`` makes of its candidates.

    The diversity is that among the ``fetch_size`` best. Where these are too few under the cap, the list goes on with
    the best of all others that it admits, until it is full or there are none: without diversity it is the list that
    one gets by going through the whole catalogue in the order of the scores.
    """
    if wanted.plain:
        return first.take(slice(wanted.k))
    asked = fetch_size(wanted)
    pool = first.take(slice(asked))
    cap = CategoryCap[Category](wanted.per_category) if wanted.per_category is not None else None
    vectors = catalogue.directions(pool.slots) if wanted.diversity > 0 else None
    chosen = select(
        pool.scores,
        wanted.k,
        diversity=wanted.diversity,
        vectors=vectors,
        categories=_categories(catalogue, wanted, pool),
        cap=cap,
    )
    taken = pool.take(chosen)
    while cap is not None and len(taken.slots) < wanted.k and len(pool.slots) == asked:
        asked = pool_size(wanted.k - len(taken.slots))
        pool = more(_with_room(wanted, cap), taken.slots, asked)
        categories = _categories(catalogue, wanted, pool)
        added = pool.take(select(pool.scores, wanted.k - len(taken.slots), categories=categories, cap=cap))
        if not len(added.slots):
            break  # What the filter found has other categories now.
        taken = taken.then(added)
    return taken


def _categories(catalogue: Catalogue, wanted: Wanted, pool: Candidates) -> list[list[Category]] | None:
    if wanted.category is None:
        return None
    found = catalogue.attributes(catalogue.ids(pool.slots))
    return [_values(attributes.get(wanted.category)) for attributes in found]


def _values(value: Attribute) -> list[Category]:
    if value is None:
        return []
    if isinstance(value, list):
        return [("string", one) for one in value]
    if isinstance(value, bool):
        return [("boolean", value)]
    return [("string", value)] if isinstance(value, str) else [("number", as_number(value))]


def _with_room(wanted: Wanted, cap: CategoryCap[Category]) -> Filter:
    """Return the filter for what ``cap`` still admits."""
    full: dict[str, set[str | float]] = defaultdict(set)
    for kind, value in cap.full:
        full[kind].add(value)
    values = {f"{kind}s": frozenset(of_kind) for kind, of_kind in full.items()}
    room = Not(OneOf(wanted.category or "", **values))  # type: ignore[arg-type]
    return room if wanted.filter is None else And(frozenset([wanted.filter, room]))
