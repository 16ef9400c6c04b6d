"""Films and viewers that do not exist, as many as in MovieLens-100K: for machines that cannot fetch it."""

from __future__ import annotations

from typing import Final

import numpy as np

from schemas.events import InteractionEvent
from workers.datasets.movielens import GENRES, Film, MovieLens, Person

FILMS: Final = 1682
PEOPLE: Final = 943
INTERACTIONS: Final = 100_000
GENRES_OF_A_FILM: Final = 2
# How much likelier a viewer picks a film for each genre that they like.
LIKING: Final = 4.0
FIRST_DAY: Final = 875_000_000.0
SECONDS: Final = 19_000_000.0


def make(seed: int = 0, people: int = PEOPLE, each: int = INTERACTIONS // PEOPLE) -> MovieLens:
    """Return films with two genres each, and viewers of ``each`` films who like three genres and what is popular."""
    rng = np.random.default_rng(seed)
    genres = np.zeros((FILMS, len(GENRES)), bool)
    for film in genres:
        film[rng.choice(len(GENRES), GENRES_OF_A_FILM, replace=False)] = True
    films = {
        str(number): Film(
            item_id=str(number),
            title=f"Film {number}",
            year=int(rng.integers(1930, 1999)),
            genres=tuple(np.array(GENRES)[row].tolist()),
        )
        for number, row in enumerate(genres, 1)
    }
    popularity = 1 / np.arange(1, FILMS + 1)
    interactions = []
    for user in range(1, people + 1):
        liked = rng.choice(len(GENRES), 3, replace=False)
        odds = popularity * LIKING ** genres[:, liked].sum(axis=1)
        seen = rng.choice(FILMS, each, replace=False, p=odds / odds.sum())
        times = FIRST_DAY + SECONDS * rng.random(len(seen))
        interactions += [
            InteractionEvent(str(user), str(item + 1), kind="watch", timestamp=float(time))
            for item, time in zip(seen, times, strict=True)
        ]
    interactions.sort(key=lambda event: event.timestamp or 0.0)
    viewers = {str(user): Person(str(user), 30, "", "none") for user in range(1, people + 1)}
    return MovieLens(films, viewers, interactions)
