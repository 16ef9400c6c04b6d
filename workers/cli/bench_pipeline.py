"""``latentstream bench pipeline``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from workers.cli import terminal

if TYPE_CHECKING:  # Importing it for real imports TensorFlow.
    from workers.bench.interaction_pipeline import Interactions
    from workers.bench.item_pipeline import Items
    from workers.bench.pipeline import Pipeline

_ONLY = ("vectors", "images", "texts", "10", "100", "500")


def pipeline(
    events: Annotated[int, typer.Option(min=10_000, help="Items of each kind.")] = 60_000,
    interactions: Annotated[int, typer.Option(min=10_000, help="Interactions for each length of history.")] = 40_000,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Only these parts, of {', '.join(_ONLY)}. May be given again.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Measure how fast one worker process works through a topic, beside its stages alone and a naive loop.

    Starts the local stack (unless the settings name addresses) and publishes everything beforehand, to topics of its
    own. Items: vectors of 784 float32, images of 28 x 28 pixels, and texts of 1 KB without features. Interactions: of
    users with histories of 10, 100 and 500 items, a catalogue of 100,000 items, and lists of 50.

    The stages alone are those of a worker, one after the other in a process of its own, on the same events in the same
    batches; all rates are medians of windows, in events a second. The naive loop polls one event, encodes it by an
    eager call of the model, and stores it with SET.
    """
    for name in only or ():
        if name not in _ONLY:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(_ONLY)}", param_hint="--only")
    from workers import logs
    from workers.bench.pipeline import measure

    # What the parts of a worker log when they are measured alone must not stand in what is printed.
    logs.configure("WARNING")
    found = measure(events, interactions, only or list(_ONLY), lambda line: terminal.say(line, stderr=True))
    if as_json:
        typer.echo(msgspec.json.encode(found))
    else:
        _show(found)


def _show(found: Pipeline) -> None:
    rows = [
        *((kind, *_figures(one, one.naive)) for kind, one in found.items.items()),
        *((f"history of {length}", *_figures(one, None)) for length, one in found.interactions.items()),
    ]
    headings = ("", "events/s", "of slowest stage", "stages alone", "times naive", "CPU s a million", "memory")
    terminal.console().print(terminal.table(headings, rows, right=headings[1:]))


def _figures(one: Items | Interactions, naive: float | None) -> tuple[str, ...]:
    stages = msgspec.structs.asdict(one.stages)
    alone = ", ".join(f"{name} {value:,.0f}" for name, value in stages.items() if value is not None)
    return (
        f"{one.end_to_end:,.0f}",
        f"{one.of_slowest_stage:.2f}",
        alone,
        "" if naive is None else f"{one.end_to_end / naive:,.0f}",
        f"{one.cpu_s_per_million:,.0f}",
        f"{one.peak_mb:,.0f} MB",
    )
