"""A film that nobody has ever seen, from its event on Kafka to somebody's recommendations."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from schemas.documents import UserQuery
from schemas.events import InteractionEvent
from workers.datasets.movielens import Film
from workers.query_client import QueryClient, new_request_id
from workers.sandbox import Sandbox, SandboxError

NEW_FILM: Final = Film("new-film", "The Borrowed Satellite", 1998, ("Action", "Sci-Fi", "Thriller"))
# How many viewers who like such films are asked for, in turn.
FANS: Final = 25
PATIENCE_S: Final = 20.0


class Arrival(NamedTuple):
    """Who was recommended the new film, at which place (from 1), and how long after its event."""

    user_id: str
    place: int
    seconds: float


def fans(films: dict[str, Film], train: Sequence[InteractionEvent], genres: Sequence[str]) -> list[str]:
    """Return the viewers with the largest share of films that have all of ``genres``, best first."""
    seen = Counter(event.user_id for event in train)
    fitting = Counter(event.user_id for event in train if set(genres) <= set(films[event.item_id].genres))
    return sorted(fitting, key=lambda user: (-fitting[user] / seen[user], user))[:FANS]


def publish_and_watch(sandbox: Sandbox, queries: QueryClient, users: Sequence[str], k: int) -> Arrival:
    """Publish the new film and ask for the best ``k`` of each of ``users`` until it is among them.

    Raises:
        SandboxError: it is recommended to none of them in time.
    """
    start = time.monotonic()
    sandbox.publish([NEW_FILM.event()])
    while time.monotonic() - start < PATIENCE_S:
        for user in users:
            items = queries.ask(UserQuery(new_request_id(), user, k)).items
            if NEW_FILM.item_id in items:
                return Arrival(user, items.index(NEW_FILM.item_id) + 1, time.monotonic() - start)
    raise SandboxError(f"the new film was recommended to none of {len(users)} viewers within {PATIENCE_S:.0f} s")
