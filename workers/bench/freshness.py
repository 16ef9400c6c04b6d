"""``latentstream bench freshness``: the age of what is served, under an even load, on a real stack."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from schemas.events import InteractionEvent, ItemEvent
from workers import connections
from workers.bench import synthetic
from workers.bench.arrivals import ItemProbe
from workers.bench.flood import Answers, QueryFlood
from workers.bench.latency import Summary
from workers.bench.list_watch import ListWatch, PacedProducer
from workers.bench.windows import Drained, drained
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
# What is drained to find the highest rate, published while no worker runs.
BACKLOG: Final = 60_000
# And what is then sent as fast as can be.
SENT: Final = 30_000

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


class Share(msgspec.Struct, frozen=True):
    """What was measured at a share of the highest rate, in percent."""

    percent: float
    freshness: Freshness


class Shares(msgspec.Struct, frozen=True):
    """What was measured at each share of the rate ``highest_per_s``.

    That is the rate at which the recommender drained a backlog, ``backlog``, or a lower one: so many lists were renewed
    a second when interactions were sent that fast, and who sends them and reads the lists needed the same processors.
    """

    backlog: Drained
    highest_per_s: float
    shares: list[Share]


@dataclass(frozen=True, slots=True)
class _Stream:
    """A sandbox with a trained model, and what is streamed into it."""

    sandbox: Sandbox
    name: str
    data: movielens.MovieLens
    interactions: Iterator[InteractionEvent]
    items: Iterator[ItemEvent]


def measure(seconds: float, rate: float, queries: float, say: Say) -> Freshness:
    """Train on most of the data, then stream the rest at ``rate`` interactions a second.

    With ``queries`` above 0, so many on-demand queries a second are sent beside them.

    Raises:
        StackError, ConnectionFailed, SandboxError: what a person must repair.
    """
    stream = _prepared(say)
    with Workers(stream.sandbox) as workers:
        _catch_up(stream.sandbox, workers)
        return _measured(stream, workers, seconds, rate, queries, say)


def measure_shares(seconds: float, percents: Sequence[float], say: Say) -> Shares:
    """Find the highest rate of interactions, and measure at each of ``percents`` of it.

    Raises:
        StackError, ConnectionFailed, SandboxError: what a person must repair.
    """
    stream = _prepared(say)
    with Workers(stream.sandbox) as workers:
        _catch_up(stream.sandbox, workers)
    say(f"Publishing a backlog of {BACKLOG:,} interactions, to find the highest rate.")
    stream.sandbox.publish(itertools.islice(stream.interactions, BACKLOG))
    with Workers(stream.sandbox) as workers:
        workers.wait_ready()
        backlog = Backlog(stream.sandbox, connections.redis_client(stream.sandbox.settings.redis))
        alone = drained(backlog.interactions, workers.processes[1].pid, workers.check)
        backlog.close()
        highest = min(alone.rate.median, _sustained(stream, alone.rate.median))
        say(f"{alone.rate.median:,.0f} interactions/s from a backlog, {highest:,.0f}/s when they are sent meanwhile.")
        shares = [
            Share(percent, _measured(stream, workers, seconds, highest * percent / 100, 0, say)) for percent in percents
        ]
    return Shares(alone, round(highest, 1), shares)


def _sustained(stream: _Stream, rate: float) -> float:
    """Return how many interactions a second are in lists, while they are sent as fast as can be, at most ``rate``."""
    start = time.monotonic()
    _load(stream.sandbox, stream.interactions, stream.items, SENT / rate, rate)
    return SENT / (time.monotonic() - start)


def _prepared(say: Say) -> _Stream:
    """Return a stream of interactions that the model was not trained on, over and over, and of new items."""
    sandbox = Sandbox.open(NAME, say, CHANGES)
    name, data = _data(sandbox, say)
    parts = movielens.split(data.interactions)
    say(f"Publishing {len(data.films):,} items and {len(parts.train):,} interactions ({name}).")
    sandbox.publish(film.event() for film in data.films.values())
    sandbox.publish(parts.train)
    run_command(sandbox, "train", quiet=True)
    return _Stream(sandbox, name, data, itertools.cycle(parts.test), _new_items(data))


def _catch_up(sandbox: Sandbox, workers: Workers) -> None:
    workers.wait_ready()
    backlog = Backlog(sandbox, connections.redis_client(sandbox.settings.redis))
    workers.wait_done(lambda: backlog.items() + backlog.interactions())
    backlog.close()


def _measured(stream: _Stream, workers: Workers, seconds: float, rate: float, queries: float, say: Say) -> Freshness:
    say(f"Streaming {rate:,.0f} interactions/s for {seconds:g} s, after a warm-up of {WARM_UP_S:g} s.")
    sandbox, users = stream.sandbox, sorted(stream.data.people)
    _load(sandbox, stream.interactions, stream.items, WARM_UP_S, rate)
    workers.check()
    with ExitStack() as stack:
        flood = stack.enter_context(QueryFlood(sandbox, users, queries)) if queries else None
        lists, arrivals, reached = _load(sandbox, stream.interactions, stream.items, seconds, rate)
        answers = flood.finish() if flood else None
    workers.check()
    return Freshness(
        item_to_index_ms=arrivals,
        event_to_recs_ms=lists,
        interactions_per_s=round(reached, 1),
        items_per_s=round(arrivals.samples / seconds, 1),
        seconds=seconds,
        data=stream.name,
        items=len(stream.data.films),
        users=len(users),
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
