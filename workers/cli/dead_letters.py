"""``latentstream dead-letters list | show | replay``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer
from rich.progress import BarColumn, Progress, TextColumn

from schemas.settings import Settings
from workers.cli import terminal
from workers.cli.errors import CommandFailed

if TYPE_CHECKING:
    from kafka.consumer.fetcher import ConsumerRecord

    from workers.letters import Letter, Origin
    from workers.replay import Replayed

app = typer.Typer(help="What could not be processed: look at it, and publish it again.", no_args_is_help=True)

MAX_LIMIT: Final = 10_000
INTERRUPTED: Final = 130
_SHOWN_BYTES: Final = 60

Topic = Annotated[str | None, typer.Option("--topic", help="Only letters from this topic.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Only letters with this exception, such as NonFinite.")]


@app.command("list")
def list_letters(
    limit: Annotated[int, typer.Option("--limit", min=1, max=MAX_LIMIT, help="How many, the newest.")] = 20,
    topic: Topic = None,
    reason: Reason = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, for scripts.")] = False,
) -> None:
    """Show the newest dead letters, each event once however often it was refused."""
    from workers.letters import Filter, read_letter
    from workers.topic_reader import newest

    settings, wanted = Settings(), Filter(topic, reason)

    def read(record: ConsumerRecord) -> Letter | None:
        letter = read_letter(record)
        return letter if wanted.accepts(letter) else None

    letters = newest(settings, settings.kafka.dead_letters_topic, limit, read)
    if as_json:
        terminal.print_json([_document(letter) for letter in letters])
        return
    if not letters:
        matching = " that match" if topic or reason else ""
        terminal.say(f"No dead letters{matching} in {settings.kafka.dead_letters_topic}.")
        return
    headings = ("written", "topic", "partition", "offset", "reason", "message", "key", "value")
    terminal.console().print(terminal.table(headings, map(_row, letters), right=("partition", "offset")))


class _Whole(NamedTuple):
    """A letter with the record that it stands in."""

    letter: Letter
    record: ConsumerRecord

    @property
    def origin(self) -> Origin:
        return self.letter.origin

    @property
    def written_ms(self) -> int:
        return self.letter.written_ms


@app.command()
def show(
    event: Annotated[
        list[str] | None,
        typer.Argument(metavar="TOPIC PARTITION OFFSET", help="Where the event stands, as `list` shows it."),
    ] = None,
    topic: Topic = None,
    reason: Reason = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the value to this file, byte for byte.")
    ] = None,
) -> None:
    """Show one dead letter in full: that of an event, or the newest that matches.

    What is no printable text is shown as escapes, such as \\x1b.
    """
    from workers.letters import Filter, read_letter
    from workers.topic_reader import newest

    if event and (topic or reason):
        raise typer.BadParameter("give the place of an event, or --topic and --reason, not both")
    origin = _origin(event) if event else None
    settings, wanted = Settings(), Filter(topic, reason)

    def read(record: ConsumerRecord) -> _Whole | None:
        letter = read_letter(record)
        return _Whole(letter, record) if origin in (None, letter.origin) and wanted.accepts(letter) else None

    found = newest(settings, settings.kafka.dead_letters_topic, 1, read)
    if not found:
        raise CommandFailed(
            f"there is no such letter in {settings.kafka.dead_letters_topic}: `latentstream dead-letters list` shows "
            "which there are"
        )
    value = found[0].record.value
    if output is None:
        terminal.console().print(terminal.pairs(_fields(found[0])))
        shown = "null: the item is deleted" if value is None else terminal.printable_bytes(value, len(value))
        terminal.say(f"\n{shown}")
        return
    if value is None:
        raise CommandFailed("the event has no value (null), so there is nothing to write")
    try:
        output.write_bytes(value)
    except OSError as error:
        raise CommandFailed(f"{output} cannot be written: {error.strerror}") from error
    terminal.say(f"{len(value):,} bytes written to {terminal.printable(str(output))}", stderr=True)


@app.command()
def replay(
    everything: Annotated[bool, typer.Option("--all", help="Also what was replayed before.")] = False,
    topic: Topic = None,
    reason: Reason = None,
    overtaken: Annotated[
        bool, typer.Option("--overtaken", help="Also events that would undo something newer, which they then do.")
    ] = False,
) -> None:
    """Publish the events of dead letters again, as they were, to the topics that they came from.

    An event counts by its place in the topic, and what is published again stands at the end. So an event is passed
    over where its topic has something newer that was not refused: another event or the deletion of the same item, or
    an interaction of the same user with the same item. The topics are read for that, from the oldest such event on.
    What producers write in the seconds of the replay itself is not seen: let them rest where that matters.

    What was replayed or passed over is remembered, so that the next replay begins after it. --topic and --reason choose
    among all letters, so they need --all, and such a choice is not remembered.
    """
    if (topic or reason) and not everything:
        raise typer.BadParameter("--topic and --reason need --all: a choice among all letters is not remembered")
    from workers import connections
    from workers.letters import Filter
    from workers.replay import REPLAY_GROUP, Choice, Replay
    from workers.topic_reader import CLOSE_TIMEOUT_MS

    settings = Settings()
    connections.ensure_topics(settings)
    consumer = connections.consumer(settings, REPLAY_GROUP)
    producer = connections.producer(settings, linger_ms=5)
    status = 0
    with _progress() as progress:
        task = progress.add_task("records read", total=None)
        replayed = Replay(settings, consumer, producer, lambda count: progress.advance(task, count))
        try:
            replayed.run(
                Choice(Filter(topic, reason), again=everything, overtaken=overtaken, remember=not (topic or reason))
            )
        except KeyboardInterrupt:
            status = INTERRUPTED
        finally:
            producer.close(timeout=CLOSE_TIMEOUT_MS / 1000)
            consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)
            progress.stop()
            _report(replayed.result, interrupted=bool(status))
    if status:
        raise typer.Exit(status)


def _progress() -> Progress:
    console = terminal.console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,.0f}"))
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _report(result: Replayed, *, interrupted: bool) -> None:
    passed_over = [
        f"{count:,} {why}"
        for count, why in (
            (result.copies, "copies of letters replayed already"),
            (result.filtered, "not asked for"),
            (result.overtaken, "overtaken by newer events (--overtaken publishes them as well)"),
            (result.foreign, "not from the topics in the settings"),
            (result.too_large, "not whole, or larger than LATENTSTREAM_EVENTS__MAX_BYTES"),
        )
        if count
    ]
    stopped = "Interrupted: " if interrupted else ""
    others = f"; passed over: {', '.join(passed_over)}" if passed_over else ""
    plural = "event" if result.published == 1 else "events"
    terminal.say(f"{stopped}{result.published:,} {plural} published again{others}", stderr=True)


def _origin(event: list[str]) -> Origin:
    if len(event) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 19 for part in event[1:]):
        raise typer.BadParameter("the place of an event is TOPIC PARTITION OFFSET, such as: items 2 1234")
    return event[0], int(event[1]), int(event[2])


def _fields(whole: _Whole) -> list[tuple[str, str]]:
    """Return names and values of all but the value."""
    from workers.dead_letters import HEADERS

    letter, record = whole
    rows = [
        ("written", terminal.moment(letter.written_ms / 1000)),
        ("topic", letter.topic),
        ("partition", str(letter.partition)),
        ("offset", str(letter.offset)),
        ("reason", letter.exception),
        ("message", letter.message),
        ("key", "null" if record.key is None else terminal.printable_bytes(record.key, len(record.key))),
    ]
    if letter.event_ms is not None:
        rows.insert(1, ("event written", terminal.moment(letter.event_ms / 1000)))
    for name, header in record.headers:
        if name not in HEADERS:
            rows.append((f"header {name}", "null" if header is None else terminal.printable_bytes(header, len(header))))
    has = len(record.value or b"")
    beginning = f", of which the letter has the first {has:,}" if has < letter.value_bytes else ""
    rows.append(("value", f"{letter.value_bytes:,} bytes{beginning}"))
    return rows


def _row(letter: Letter) -> tuple[str, ...]:
    key = "" if letter.key is None else terminal.printable_bytes(letter.key, _SHOWN_BYTES)
    return (
        terminal.moment(letter.written_ms / 1000),
        letter.topic,
        str(letter.partition),
        str(letter.offset),
        letter.exception,
        letter.message,
        key,
        _value(letter, _SHOWN_BYTES),
    )


def _value(letter: Letter, limit: int) -> str:
    if letter.value_start is None:
        return "null"
    shown = terminal.printable_bytes(letter.value_start[:limit], limit)
    return f"{shown}… ({letter.value_bytes:,} bytes)" if letter.value_bytes > limit else shown


def _document(letter: Letter) -> dict[str, Any]:
    """Return a letter as a JSON object; bytes that are not UTF-8 are escaped, long values cut."""
    return {
        "written_at": letter.written_ms / 1000,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "exception": letter.exception,
        "message": letter.message,
        "key": None if letter.key is None else letter.key.decode("utf-8", "backslashreplace"),
        "value_bytes": letter.value_bytes,
        "value_start": None if letter.value_start is None else letter.value_start.decode("utf-8", "backslashreplace"),
    }
