"""What reaches a terminal: text from events is shown with every control character escaped, never as markup."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:  # Importing it for real imports TensorFlow.
    from models.fitting import ReportEpoch

# Rich takes a pipe for 80 columns wide and would fold what another program reads.
_PIPE_WIDTH: Final = 240
_YEAR_10000: Final = 253_402_300_800


def console(*, stderr: bool = False) -> Console:
    """Return a console that prints strings as they are: no markup, emoji names or highlighting in them."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, width=width)


def say(text: str, style: str = "", *, stderr: bool = False) -> None:
    """Print lines of text that hold nothing from events, or only what is printable; long ones are not folded."""
    console(stderr=stderr).print(text, style=style, soft_wrap=True)


def printable(text: str) -> str:
    """Return ``text`` with all that is no visible character or space escaped as Python would write it.

    Escape sequences, line ends, and characters that change the direction of writing end here.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def printable_bytes(data: bytes, limit: int) -> str:
    """Return the first ``limit`` bytes of ``data`` as text; what is not UTF-8 is escaped."""
    shown = printable(data[:limit].decode("utf-8", "backslashreplace"))
    return f"{shown}… ({len(data):,} bytes)" if len(data) > limit else shown


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> Table:
    """Return a table of strings, made printable; the columns named in ``right`` are aligned to the right."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in headings:
        justify: Literal["left", "right"] = "right" if heading in right else "left"
        made.add_column(heading, justify=justify, overflow="fold")
    for row in rows:
        made.add_row(*map(printable, row))
    return made


def pairs(rows: Iterable[tuple[str, str]]) -> Table:
    """Return a table of names and values, without headings."""
    made = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        made.add_row(printable(name), printable(value))
    return made


def print_json(document: Any) -> None:
    """Print ``document`` as indented JSON in pure ASCII, so that a terminal may show it as well."""
    # The one control character that JSON leaves alone is DEL; it can only stand inside a string.
    typer.echo(json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False).replace("\x7f", "\\u007f"))


def moment(timestamp: float) -> str:
    """Return a time in Unix seconds as date and time in UTC; one that no calendar has, as it is."""
    if not 0 <= timestamp < _YEAR_10000:
        return f"{timestamp:.0f}"
    return datetime.fromtimestamp(timestamp, UTC).isoformat(" ", "seconds").removesuffix("+00:00")


def duration(seconds: float) -> str:
    """Return ``seconds`` in the unit that a person would choose."""
    for unit, length in (("days", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.1f} s"


def size(count: float) -> str:
    """Return a number of bytes in the unit that a person would choose."""
    for unit, length in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count:.0f} bytes"


def epoch_reporter(screen: Console) -> Callable[[str], ReportEpoch]:
    """Return what says how far a training is, where standard error is a terminal."""

    def stage_reporter(stage: str) -> ReportEpoch:
        def report(done: int, total: int, note: str) -> None:
            if screen.is_terminal:
                screen.print(f"{stage}: {done} of at most {total} epochs, {note}", end="\r")

        return report

    return stage_reporter


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


@contextmanager
def watch(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show on standard error how far ``name`` is with ``total`` items, and in the end how long it took."""
    start = time.monotonic()
    screen = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bars:
        task = bars.add_task(name, total=total)
        yield lambda done: bars.update(task, completed=done)
    say(f"{name}: {total:,} items in {duration(time.monotonic() - start)}", stderr=True)
