"""``latentstream publish items | interactions``."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from schemas.events import JSON, MSGPACK
from schemas.settings import Settings
from workers.cli import terminal

if TYPE_CHECKING:
    from workers.publisher import EventFile, Kind, Publisher, Report

app = typer.Typer(help="Publish events from files: a JSON object a line.", no_args_is_help=True)

INTERRUPTED = 130
CLOSE_TIMEOUT_S = 5.0
# A progress bar that is renewed at every line would take longer than the sending.
_REFRESH_LINES = 200


class WireFormat(StrEnum):
    """The format of the values on Kafka."""

    json = "json"
    msgpack = "msgpack"


Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE…",
        help="JSON lines, plain or gzip; - is standard input.",
        dir_okay=False,
        readable=True,
    ),
]
Format = Annotated[WireFormat, typer.Option("--format", help="How values are written to Kafka.")]


@app.command()
def items(files: Files, wire_format: Format = WireFormat.json) -> None:
    """Publish item events. {"item_id": "x", "deleted": true} deletes an item.

    A line that a worker would refuse is not sent, but reported at the end; the exit status is then 1.
    """
    _publish("items", files, wire_format)


@app.command()
def interactions(files: Files, wire_format: Format = WireFormat.json) -> None:
    """Publish interaction events, with the user as the key.

    A line that a worker would refuse is not sent, but reported at the end; the exit status is then 1.
    """
    _publish("interactions", files, wire_format)


def _publish(kind: Kind, files: list[Path], wire_format: WireFormat) -> None:
    from workers import connections
    from workers.publisher import LINE_LIMIT_FACTOR, STDIN, EventFile, Publisher
    from workers.tracing import publishing, tracing

    # Typer 0.29 with exists=True takes "-" for a missing file, allow_dash or not.
    for path in files:
        if path != STDIN and not path.exists():
            raise typer.BadParameter(f"{path} does not exist")
    settings = Settings()
    connections.ensure_topics(settings)
    topic = settings.kafka.items_topic if kind == "items" else settings.kafka.interactions_topic
    content_type = MSGPACK if wire_format is WireFormat.msgpack else JSON
    total = None if STDIN in files else sum(path.stat().st_size for path in files)
    producer = connections.producer(settings, linger_ms=20, batch_size=1 << 17)
    began = time.monotonic()
    status = 0
    with tracing(settings, "publish"), publishing(topic) as headers:
        publisher = Publisher(producer, topic, kind, content_type, settings.events.max_bytes, headers)
        try:
            with _progress() as progress:
                task = progress.add_task(f"to {topic}", total=total, lines=0)
                for path in files:
                    file = EventFile(path, LINE_LIMIT_FACTOR * settings.events.max_bytes)
                    _send_file(publisher, file, progress, task)
                publisher.finish()
        except KeyboardInterrupt:
            status = INTERRUPTED
        finally:
            # What is on its way when it is interrupted, or when something failed, still gets its chance.
            producer.close(timeout=CLOSE_TIMEOUT_S)
            publisher.count_arrived()
            _print_report(publisher.report, topic, time.monotonic() - began, interrupted=status == INTERRUPTED)
    if status or publisher.report.bad:
        raise typer.Exit(status or 1)


def _progress() -> Progress:
    console = terminal.console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[lines]:,} lines"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _send_file(publisher: Publisher, file: EventFile, progress: Progress, task: TaskID) -> None:
    shown = 0

    def on_line() -> None:
        nonlocal shown
        if publisher.report.lines % _REFRESH_LINES == 0:
            progress.update(task, advance=file.bytes_read - shown, lines=publisher.report.lines)
            shown = file.bytes_read

    publisher.publish(file, on_line)
    progress.update(task, advance=file.bytes_read - shown, lines=publisher.report.lines)


def _print_report(report: Report, topic: str, seconds: float, *, interrupted: bool) -> None:
    for place, reason in report.examples:
        terminal.say(terminal.printable(f"{place}: {reason}"), "red", stderr=True)
    if report.bad > len(report.examples):
        terminal.say(f"… and {report.bad - len(report.examples):,} more bad lines", "red", stderr=True)
    bad = f", {report.bad:,} bad and not sent" if report.bad else ""
    stopped = "Interrupted: " if interrupted else ""
    rate = report.lines / max(seconds, 1e-9)
    terminal.say(
        f"{stopped}{report.arrived:,} of {report.lines:,} lines arrived in {topic}{bad}"
        f" ({seconds:.1f} s, {rate:,.0f} lines/s)",
        stderr=True,
    )
