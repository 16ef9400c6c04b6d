"""``latentstream dead-letters list | replay``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.progress import BarColumn, Progress, TextColumn

from schemas.settings import Settings
from workers.cli import terminal

if TYPE_CHECKING:
    from kafka.consumer.fetcher import ConsumerRecord

    from workers.letters import Letter, Replayed

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


@app.command()
def replay(
    everything: Annotated[bool, typer.Option("--all", help="Also what was replayed before.")] = False,
    topic: Topic = None,
    reason: Reason = None,
) -> None:
    """Publish the events of dead letters again, as they were, to the topics that they came from.

    What was replayed is remembered, so that the next replay begins after it. --topic and --reason choose
    among all letters, so they need --all, and such a choice is not remembered: a plain replay after it
    publishes those events once more.
    """
    if (topic or reason) and not everything:
        raise typer.BadParameter("--topic and --reason need --all: a choice among all letters is not remembered")
    from workers import connections
    from workers.letters import REPLAY_GROUP, Filter, Replay
    from workers.topic_reader import CLOSE_TIMEOUT_MS, READING

    settings = Settings()
    connections.ensure_topics(settings)
    consumer = connections.consumer(settings, REPLAY_GROUP, **READING)
    producer = connections.producer(settings, linger_ms=5)
    replayed = Replay(settings, consumer, producer)
    status = 0
    try:
        with _progress() as progress:
            task = progress.add_task("dead letters", total=None)
            replayed.run(
                Filter(topic, reason),
                again=everything,
                remember=not (topic or reason),
                on_letters=lambda read, total: progress.update(task, completed=read, total=total),
            )
    except KeyboardInterrupt:
        status = INTERRUPTED
    finally:
        producer.close(timeout=CLOSE_TIMEOUT_MS / 1000)
        consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)
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
            (result.foreign, "not from the topics in the settings"),
            (result.too_large, "larger than LATENTSTREAM_EVENTS__MAX_BYTES"),
        )
        if count
    ]
    stopped = "Interrupted: " if interrupted else ""
    others = f"; passed over: {', '.join(passed_over)}" if passed_over else ""
    plural = "event" if result.published == 1 else "events"
    terminal.say(f"{stopped}{result.published:,} {plural} published again{others}", stderr=True)


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
