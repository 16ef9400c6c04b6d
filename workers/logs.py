"""Structured logs on standard error: JSON lines, or readable lines at a terminal.

A line about events has their ``topic``, ``partition`` and ``offset``, the ``model`` they met, and the ``trace_id`` of
the event or of its batch where there is one.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Final, Literal

import structlog

# A library may say the same of a server that is away many times a second.
LIBRARY_LINE_S: Final = 5.0


def configure(level: str, form: Literal["auto", "json", "text"] = "auto") -> None:
    """Send structlog, and the libraries' warnings through it, to standard error."""
    readable = sys.stderr.isatty() if form == "auto" else form == "text"
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    traces: list[structlog.types.Processor] = [] if readable else [structlog.processors.format_exc_info]
    # Traces never show the values of variables, which may be secret.
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if readable
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, *traces, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[_drop_internal, *traces, renderer])
    )
    handler.addFilter(_Seldom())
    # Libraries log a line for each reconnection at INFO; what an operator must know, the workers say.
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


class _Seldom(logging.Filter):
    """Passes what one place in the code of a library says once in a while, and how often it said so meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._next: dict[tuple[str, int], float] = {}
        self._held: dict[tuple[str, int], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is shown."""
        place, now = (record.name, record.lineno), time.monotonic()
        if now < self._next.get(place, 0.0):
            self._held[place] = self._held.get(place, 0) + 1
            return False
        self._next[place] = now + LIBRARY_LINE_S
        held = self._held.pop(place, 0)
        if held:
            record.msg, record.args = f"{record.getMessage()} (and {held} such lines before)", ()
        return True


def _drop_internal(logger: logging.Logger, name: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    return structlog.stdlib.ProcessorFormatter.remove_processors_meta(logger, name, event)
