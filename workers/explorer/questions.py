"""What the explorer asks the recommenders: why an item is in a list, what an event changed, what is near an item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from schemas.documents import ItemsQuery, QueryReply, QueryRequest, ReconstructQuery, SimilarQuery, UserQuery
from schemas.events import DISMISS
from schemas.keys import DEFAULT_PROFILE
from schemas.records import History
from workers.explorer.system import System
from workers.explorer.users import ShownItem
from workers.query_client import QueryClient, new_request_id

REASONS: Final = 3
K: Final = 20
NEIGHBOURS: Final = 12
# As many as a query may name.
MOST_ITEMS: Final = 500


class Reason(msgspec.Struct, frozen=True):
    """An item of the history, and what it adds to the score."""

    item_id: str
    title: str | None
    added: float


class Reasoned(msgspec.Struct, frozen=True):
    """An item of a list with what it is due to; ``bias`` is the rest of its score, null where the model has none."""

    item_id: str
    title: str | None
    score: float
    because: list[Reason]
    bias: float | None


class Answer(msgspec.Struct, frozen=True):
    """A list made now."""

    model: str
    items: list[Reasoned]


class Moved(msgspec.Struct, frozen=True):
    """An item of a list: its rank now and without the last events, from 1; null where it is not listed."""

    item_id: str
    title: str | None
    rank: int | None
    before: int | None


class Changed(msgspec.Struct, frozen=True):
    """What the last events of a user changed in the list."""

    model: str
    events: list[ShownItem]
    items: list[Moved]


def ask(system: System, query: QueryRequest) -> QueryReply:
    """Return the reply of a recommender.

    Raises:
        NoAnswer, QueryBusy, QueryRefused: there is none.
    """
    return QueryClient(system.redis, system.settings).ask(query)


def why(system: System, user_id: str, profile: str | None) -> Answer:
    """Return a user's list as it would be made now, with the items of the history that each is due to."""
    reply = ask(system, UserQuery(new_request_id(), user_id, K, REASONS, profile=_named(profile)))
    titles = system.titles([*reply.items, *(item for reasons in reply.because for item, _ in reasons)])
    biases: Sequence[float | None] = reply.biases or [None] * len(reply.items)
    because = reply.because or [[] for _ in reply.items]
    return Answer(
        reply.model,
        [
            Reasoned(
                item, titles.get(item), score, [Reason(name, titles.get(name), added) for name, added in reasons], bias
            )
            for item, score, reasons, bias in zip(reply.items, reply.scores, because, biases, strict=True)
        ],
    )


def last_changed(system: System, history: History, last: int) -> Changed:
    """Return what the ``last`` interactions changed: the list that a history gives with them and without.

    Both lists are made now, by the items of the history alone: each counts 1.
    """
    touched = [touch.item_id for touch in history[-MOST_ITEMS:] if touch.kind != DISMISS]
    now = ask(system, ItemsQuery(new_request_id(), touched, K)) if touched else None
    earlier = touched[:-last]
    # Neither list has what was touched by now, so that they differ by what the model makes of it alone.
    before = ask(system, ItemsQuery(new_request_id(), earlier, K, exclude=touched[-last:])) if earlier else None
    ranks = {item: rank for rank, item in enumerate(now.items if now else [], 1)}
    ranks_before = {item: rank for rank, item in enumerate(before.items if before else [], 1)}
    items = list(dict.fromkeys([*ranks, *ranks_before]))
    events = touched[-last:][::-1]
    titles = system.titles([*items, *events])
    return Changed(
        now.model if now else "",
        [ShownItem(item, titles.get(item), 1.0) for item in events],
        [Moved(item, titles.get(item), ranks.get(item), ranks_before.get(item)) for item in items],
    )


def near(system: System, item_id: str) -> Answer:
    """Return the items most like an item, by the cosine of their vectors."""
    reply = ask(system, SimilarQuery(new_request_id(), item_id, NEIGHBOURS))
    titles = system.titles(reply.items)
    return Answer(
        reply.model,
        [
            Reasoned(item, titles.get(item), score, [], None)
            for item, score in zip(reply.items, reply.scores, strict=True)
        ],
    )


def reconstruction(system: System, item_id: str) -> list[float]:
    """Return what the stored code of an item decodes to."""
    return ask(system, ReconstructQuery(new_request_id(), item_id)).features


def _named(profile: str | None) -> str | None:
    return None if profile in (None, DEFAULT_PROFILE) else profile
