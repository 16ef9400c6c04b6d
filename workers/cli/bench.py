"""``latentstream bench``."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.console import Console

app = typer.Typer(help="Measure a running stack from outside.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `freshness` a subcommand although it is the only one."""


@app.command()
def freshness(
    seconds: Annotated[float, typer.Option(min=10, help="How long the measured load lasts.")] = 60.0,
    rate: Annotated[float, typer.Option(min=1, max=10_000, help="Interactions a second.")] = 200.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Measure how old recommendations are, on real Kafka, Redis and workers.

    Starts the local stack (unless the settings name addresses), an encoder and a recommender, with topics
    and keys of their own; trains on four fifths of MovieLens-100K, or on synthetic data of the same size
    where that cannot be had; then streams the rest at an even rate, with 10 new items a second beside it.

    event_to_recs_ms: from handing an interaction to the Kafka producer until the user's list in Redis,
    read every 4 ms, has an offset beyond it.

    item_to_index_ms: from handing a new item to the Kafka producer until the query `similar` for it is
    answered, asked every 10 ms.
    """
    from workers.bench.freshness import measure

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    found = measure(seconds, rate, lambda line: console.print(line, markup=False))
    if as_json:
        typer.echo(msgspec.json.encode(found))
        return
    for name, summary in (("event to list", found.event_to_recs_ms), ("item to index", found.item_to_index_ms)):
        typer.echo(
            f"{name}: p50 {summary.p50:.0f} ms, p90 {summary.p90:.0f} ms, p99 {summary.p99:.0f} ms, "
            f"longest {summary.max:.0f} ms ({summary.samples:,} measured, {summary.missing} missing)"
        )
    typer.echo(f"at {found.interactions_per_s:g} interactions/s and {found.items_per_s:g} items/s, {found.data}")
