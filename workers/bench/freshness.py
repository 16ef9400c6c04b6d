"""``latentstream bench freshness``: the age of what is served, under an even load, on a real stack."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final

import msgspec

from schemas.events import InteractionEvent, ItemEvent
from workers import connections
from workers.bench import synthetic
from workers.bench.arrivals import ItemProbe
from workers.bench.flood import Answers, QueryFlood
from workers.bench.latency import Summary
from workers.bench.list_watch import ListWatch, PacedProducer
from workers.datasets import DatasetMissing, movielens
from workers.sandbox import Backlog, Sandbox
from workers.subprocesses import Workers, run_command

NAME: Final = "bench-freshness"
# As in the demo: a code of half the length of the features, and room for the longest history.
CHANGES: Final[dict[str, dict[str, Any]]] = {"recommend": {"history": 1000}, "model": {"content": {"latent_dim": 16}}}
# Each new item is asked for several times, which costs the recommender more than the item itself.
ITEMS_PER_SECOND: Final = 10.0
# So long the load runs before anything counts: first calls are slower than the rest.
WARM_UP_S: Final = 5.0

Say = Callable[[str], None]


class Freshness(msgspec.Struct, frozen=True):
    """What was measured, and under which load."""

    item_to_index_ms: Summary
    event_to_recs_ms: Summary
    interactions_per_s: float
    items_per_s: float
    seconds: float
    data: str
    items: int
    users: int
    queries: Answers | None = None


def measure(seconds: float, rate: float, queries: float, say: Say) -> Freshness:
    """Train on most of the data, then stream the rest at ``rate`` interactions a second.

    With ``queries`` above 0, so many on-demand queries a second are sent beside them.

    Raises:
        StackError, ConnectionFailed, SandboxError: what a person must repair.
    """
    sandbox = Sandbox.open(NAME, say, CHANGES)
    name, data = _data(sandbox, say)
    parts = movielens.split(data.interactions)
    say(f"Publishing {len(data.films):,} items and {len(parts.train):,} interactions ({name}).")
    sandbox.publish(film.event() for film in data.films.values())
    sandbox.publish(parts.train)
    run_command(sandbox, "train", quiet=True)
    client = connections.redis_client(sandbox.settings.redis)
    with Workers(sandbox) as workers:
        workers.wait_ready()
        backlog = Backlog(sandbox, client)
        workers.wait_done(lambda: backlog.items() + backlog.interactions())
        backlog.close()
        say(f"Streaming {rate:g} interactions/s for {seconds:g} s, after a warm-up of {WARM_UP_S:g} s.")
        rest = itertools.cycle(parts.test)
        items = _new_items(data)
        _load(sandbox, rest, items, WARM_UP_S, rate)
        workers.check()
        with ExitStack() as stack:
            users = sorted(data.people)
            flood = stack.enter_context(QueryFlood(sandbox, users, queries)) if queries else None
            lists, arrivals, reached = _load(sandbox, rest, items, seconds, rate)
            answers = flood.finish() if flood else None
        workers.check()
    return Freshness(
        item_to_index_ms=arrivals,
        event_to_recs_ms=lists,
        interactions_per_s=round(reached, 1),
        items_per_s=round(arrivals.samples / seconds, 1),
        seconds=seconds,
        data=name,
        items=len(data.films),
        users=len(data.people),
        queries=answers,
    )


def _load(
    sandbox: Sandbox,
    interactions: Iterator[InteractionEvent],
    items: Iterator[ItemEvent],
    seconds: float,
    rate: float,
) -> tuple[Summary, Summary, float]:
    """Return the ages of lists, those of items, and the rate of interactions that was reached."""
    # Each thread has a connection of its own.
    redis_settings = sandbox.settings.redis
    with (
        ListWatch(sandbox, connections.redis_client(redis_settings)) as watch,
        ItemProbe(sandbox, connections.redis_client(redis_settings), items, ITEMS_PER_SECOND) as probe,
    ):
        producer = PacedProducer(sandbox, watch)
        try:
            reached = producer.send(itertools.islice(interactions, round(seconds * rate)), rate)
        finally:
            producer.close()
        return watch.finish(), probe.finish(), reached


def _data(sandbox: Sandbox, say: Say) -> tuple[str, movielens.MovieLens]:
    try:
        return "movielens-100k", movielens.load(sandbox.settings.home / "datasets" / "movielens-100k")
    except DatasetMissing as error:
        say(f"{error}. Synthetic data of the same size take its place.")
        return "synthetic", synthetic.make()


def _new_items(data: movielens.MovieLens) -> Iterator[ItemEvent]:
    """Yield items that look like those of the catalogue, under new ids."""
    for number, film in enumerate(itertools.cycle(data.films.values())):
        yield replace(film, item_id=f"new-{number}").event()
