"""``latentstream positions show | accept``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.settings import Settings
from workers.cli import terminal

if TYPE_CHECKING:
    from workers.positions import Positions, Standing

app = typer.Typer(
    help="Where the workers stand in each partition, and how to go on after a topic has lost events.",
    no_args_is_help=True,
)


@app.command()
def show(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, for scripts.")] = False,
) -> None:
    """Show the position in Redis and the offsets that Kafka holds, of each partition of both topics."""
    settings = Settings()
    with _opened(settings) as positions:
        topics = (settings.kafka.items_topic, settings.kafka.interactions_topic)
        found = [one for topic in topics for one in positions.standings(topic)]
    if as_json:
        terminal.print_json([one._asdict() | {"outside": one.is_outside} for one in found])
        return
    headings = ("topic", "partition", "model", "position", "first", "end", "")
    terminal.console().print(
        terminal.table(headings, map(_row, found), right=("partition", "position", "first", "end"))
    )


@app.command()
def accept(
    topic: Annotated[str, typer.Argument(help="The topic, as the worker's message names it.")],
) -> None:
    """Accept that events are gone from a topic: move the positions that it does not hold any more.

    Do this when a worker has stopped and said that events were removed before they were processed, or that the
    topic was deleted and made anew. A position goes to the first event that is there, or to the end where it lay
    behind it; in a topic that was made anew all go to the beginning. What is stored stays.
    """
    settings = Settings()
    moved = 0
    with _opened(settings) as positions:
        for one in positions.accept(topic):
            before = one.standing
            model = f" under {before.version}" if before.version else ""
            terminal.say(f"{topic}[{before.partition}]{model}: position {before.following} -> {one.to}")
            moved += 1
    terminal.say(f"{moved} positions moved; start the workers again." if moved else "Every position is in order.")


def _row(one: Standing) -> tuple[str, ...]:
    position = "none yet" if one.following is None else str(one.following)
    trouble = "outside: see `latentstream positions accept --help`" if one.is_outside else ""
    return one.topic, str(one.partition), one.version, position, str(one.first), str(one.end), trouble


@contextmanager
def _opened(settings: Settings) -> Iterator[Positions]:
    from workers import connections
    from workers.positions import Positions
    from workers.topic_reader import CLOSE_TIMEOUT_MS

    client = connections.redis_client(settings.redis)
    consumer = connections.consumer(settings, None)
    try:
        yield Positions(settings, client, consumer)
    finally:
        consumer.close(timeout_ms=CLOSE_TIMEOUT_MS)
