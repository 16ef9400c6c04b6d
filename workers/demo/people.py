"""Three viewers with different tastes, chosen by what they watched and never by how well it goes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from schemas.events import InteractionEvent
from workers.datasets.movielens import Film

TASTES: Final = ("Sci-Fi", "Romance", "Children's")
# Enough to have a taste, few enough that it fits a line of thought.
FEWEST, MOST = 30, 120


def choose(films: dict[str, Film], train: Sequence[InteractionEvent]) -> list[str]:
    """Return, for each taste, the viewer whose films have the largest share of it; nobody twice."""
    histories: dict[str, list[Film]] = defaultdict(list)
    for event in train:
        histories[event.user_id].append(films[event.item_id])
    middling = {user: seen for user, seen in histories.items() if FEWEST <= len(seen) <= MOST}
    chosen: list[str] = []
    for taste in TASTES:
        shares = {user: _share(seen, taste) for user, seen in middling.items() if user not in chosen}
        chosen.append(max(sorted(shares), key=lambda user: shares[user]))
    return chosen


def _share(seen: list[Film], genre: str) -> float:
    return sum(genre in film.genres for film in seen) / len(seen)
