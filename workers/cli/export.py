"""``latentstream export items | interactions``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from schemas.keys import Keys
from schemas.settings import Settings
from workers.cli import terminal

if TYPE_CHECKING:
    from workers.exporting import Export

app = typer.Typer(
    help="Write what is known as events, a JSON object a line, for `latentstream publish`.", no_args_is_help=True
)

Output = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", dir_okay=False, help="A file that appears when it is complete; else standard output."
    ),
]


@app.command()
def items(output: Output = None) -> None:
    """Write the newest event of each item that exists."""
    from workers import connections
    from workers.lookup import current_version
    from workers.registry import open_registry

    settings = Settings()
    version = current_version(connections.redis_client(settings.redis), Keys(settings.redis.prefix))
    # An event that is a dead letter has not taken the place of the one before it.
    content = open_registry(settings).load(version).content if version is not None else None
    with _progress() as progress:
        export = _export(progress, content.input_shape if content is not None else None)
        _write(export.items(), output)
    _report(export)


@app.command()
def interactions(output: Output = None) -> None:
    """Write each user's history, as it stands in Redis, and the events after it. Stop the workers before."""
    from workers import connections

    client = connections.redis_client(Settings().redis)
    with _progress() as progress:
        export = _export(progress, None)
        _write(export.interactions(client), output)
    _report(export)


def _export(progress: Progress, input_shape: tuple[int, ...] | None) -> Export:
    from workers.exporting import Export

    task = progress.add_task("reading", total=None, records=0)
    read = 0

    def on_records(count: int) -> None:
        nonlocal read
        read += count
        progress.update(task, records=read)

    return Export(Settings(), input_shape, on_records)


def _write(lines: Iterable[bytes], output: Path | None) -> None:
    if output is None:
        # A descriptor of its own, so that closing it leaves standard output alone.
        with os.fdopen(os.dup(1), "wb") as stream:
            stream.writelines(lines)
        return
    partial = output.with_name(output.name + ".partial")
    with partial.open("wb") as file:
        file.writelines(lines)
    partial.replace(output)


def _progress() -> Progress:
    console = terminal.console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.fields[records]:,} records"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _report(export: Export) -> None:
    bad = f"; {export.result.bad:,} bad ones are left out, they are dead letters" if export.result.bad else ""
    terminal.say(f"{export.result.lines:,} events{bad}", stderr=True)
