"""What a demo shows: steps with the time they took, progress, tables and commands."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

# A pipe has no width; this is what a narrow terminal has.
_PIPE_WIDTH: Final = 100

Advance = Callable[[int], None]


class Screen:
    """A terminal, or a pipe, which gets the same lines without the moving parts."""

    def __init__(self) -> None:
        # A tick that the terminal cannot show must not end the demo.
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")
        plain = Console(highlight=False)
        self.console = plain if plain.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)

    def title(self, text: str) -> None:
        """Begin a part."""
        self.console.print()
        self.console.rule(f"[bold]{text}", align="left", style="cyan")

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self.console.print(text, markup=False)

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table, figures (all columns but the first) to the right."""
        made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
        for number, heading in enumerate(headings):
            made.add_column(heading, justify="right" if number else "left")
        for row in rows:
            made.add_row(*row)
        self.console.print(made)

    def beside(self, headings: Sequence[str], columns: Sequence[Sequence[str]]) -> None:
        """Print lists next to each other."""
        made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0), expand=False)
        for heading in headings:
            made.add_column(heading, overflow="ellipsis", no_wrap=True, max_width=46)
        height = max(map(len, columns))
        for row in zip(*([*column, *[""] * (height - len(column))] for column in columns), strict=True):
            made.add_row(*row)
        self.console.print(made)

    def commands(self, lines: Sequence[tuple[str, str]]) -> None:
        """Print commands to copy, each with what it does. Never folded, so that copying works."""
        for command, meaning in lines:
            if meaning:
                self.console.print(f"[dim]# {meaning}")
            self.console.print(command, style="bold", markup=False, soft_wrap=True)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Show that something without a length is going on, then how long it took."""
        start = time.monotonic()
        with self.console.status(f"{text} …"):
            yield
        self.say(f"{text}: {time.monotonic() - start:.1f} s")

    @contextmanager
    def progress(self, text: str, total: int, before: int = 0) -> Iterator[Advance]:
        """Show how far something is; yields what to call with the number done so far.

        ``before`` of ``total`` were done when nobody watched, and do not count for the rate.
        """
        start = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        # Without a terminal there is nothing to redraw, only the line at the end.
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as bars:
            task = bars.add_task(text, total=total, completed=before)
            yield lambda done: bars.update(task, completed=done)
        seconds = max(time.monotonic() - start, 1e-3)
        rate = f", {(total - before) / seconds:,.0f} a second" if total > before else ""
        self.say(f"{text}: {total:,}{rate}")
