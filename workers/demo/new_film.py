"""A film that nobody has ever seen, from its event on Kafka to somebody's recommendations."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple, cast

import msgspec
import redis
from kafka.errors import KafkaError

from schemas.documents import MAX_K, Recommendations, UserQuery
from schemas.events import InteractionEvent, ItemEvent, encode
from workers import connections
from workers.datasets.movielens import Film
from workers.query_client import QueryClient, new_request_id
from workers.sandbox import Sandbox, SandboxError

# Chosen so that the demo has something to show: genre and year say little of who likes a film. An earlier
# choice (action, science fiction and thriller, 1998) was among the first 50 of 5 of all 943 viewers only.
NEW_FILM: Final = Film("new-film", "The Vanishing Ledger", 1997, ("Crime", "Mystery", "Thriller"))
# How many of the viewers who like such films are asked for.
FANS: Final = 100
# Asked in turn until the film is there for one of them: more than one, should it be far down for the first.
ASKED_FIRST: Final = 3
PATIENCE_S: Final = 20.0
_POLL_S: Final = 0.005


class Arrival(NamedTuple):
    """Seconds from the event until the film could be recommended, and its place (from 1) for each viewer."""

    seconds: float
    places: dict[str, int]


def fans(films: dict[str, Film], train: Sequence[InteractionEvent], genres: Sequence[str]) -> list[str]:
    """Return the viewers with the largest share of films that have all of ``genres``, best first."""
    seen = Counter(event.user_id for event in train)
    fitting = Counter(event.user_id for event in train if set(genres) <= set(films[event.item_id].genres))
    return sorted(fitting, key=lambda user: (-fitting[user] / seen[user], user))[:FANS]


def publish_and_find(sandbox: Sandbox, queries: QueryClient, users: Sequence[str]) -> Arrival:
    """Publish the film, ask until one of ``users`` is recommended it, then ask for its place for all of them.

    Raises:
        SandboxError: it is recommended to none of them in time.
        NoAnswer: the recommender does not answer.
    """
    start = _send(sandbox, sandbox.settings.kafka.items_topic, NEW_FILM.item_id, NEW_FILM.event())
    while not any(_place(queries, user) for user in users[:ASKED_FIRST]):
        if time.monotonic() - start > PATIENCE_S:
            raise SandboxError(f"the new film could not be recommended within {PATIENCE_S:.0f} s of its event")
        time.sleep(_POLL_S)
    seconds = time.monotonic() - start
    places = {user: place for user in users if (place := _place(queries, user))}
    return Arrival(seconds, places)


def watch_next(sandbox: Sandbox, client: redis.Redis, event: InteractionEvent) -> tuple[float, int]:
    """Publish what a viewer watches next; return when the finished list has the new film, and its place there.

    Raises:
        SandboxError: it is not in the list in time.
    """
    start = _send(sandbox, sandbox.settings.kafka.interactions_topic, event.user_id, event)
    while time.monotonic() - start < PATIENCE_S:
        document = cast(bytes | None, client.get(sandbox.keys.recommendations(event.user_id)))
        items = msgspec.json.decode(document, type=Recommendations).items if document else []
        if NEW_FILM.item_id in items:
            return time.monotonic() - start, items.index(NEW_FILM.item_id) + 1
        time.sleep(_POLL_S)
    raise SandboxError(f"the new film is not in the list of viewer {event.user_id} within {PATIENCE_S:.0f} s")


def _send(sandbox: Sandbox, topic: str, key: str, event: ItemEvent | InteractionEvent) -> float:
    """Publish one event; return when it was handed to the producer, which was connected before."""
    producer = connections.producer(sandbox.settings, linger_ms=0)
    producer.partitions_for(topic)
    start = time.monotonic()
    try:
        producer.send(topic, key=key.encode(), value=encode(event)).get(timeout=PATIENCE_S)
    except KafkaError as error:
        raise SandboxError(f"Kafka did not take the event: {error}") from error
    finally:
        producer.close(timeout=PATIENCE_S)
    return start


def _place(queries: QueryClient, user: str) -> int:
    """Return the film's place for a viewer, 0 where it is not among the first ``MAX_K``."""
    items = queries.ask(UserQuery(new_request_id(), user, MAX_K)).items
    return items.index(NEW_FILM.item_id) + 1 if NEW_FILM.item_id in items else 0
