"""``latentstream anomalies``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec
import typer

from schemas.events import AnomalyEvent, BadEvent, decode_anomaly
from schemas.settings import Settings
from workers.cli import terminal

if TYPE_CHECKING:
    from kafka.consumer.fetcher import ConsumerRecord

MAX_LIMIT: Final = 10_000


class Marked(NamedTuple):
    """An event and when it was written, in milliseconds."""

    event: AnomalyEvent
    written_ms: int

    @property
    def origin(self) -> str:
        """The item: its last event counts."""
        return self.event.item_id


def anomalies(
    limit: Annotated[int, typer.Option("--limit", min=1, max=MAX_LIMIT, help="How many, the newest.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, for scripts.")] = False,
) -> None:
    """Show the items that were marked last as unlike what the model was trained on, each with its newest event.

    An item may have changed since: `latentstream inspect ITEM` tells how it stands.
    """
    from workers.topic_reader import newest

    settings = Settings()
    topic = settings.kafka.anomalies_topic
    found = newest(settings, topic, limit, read_marked)
    if as_json:
        terminal.print_json([_document(marked) for marked in found])
    elif not found:
        terminal.say(f"No marked items in {topic}.")
    else:
        headings = ("marked", "item", "score", "error", "model", "partition", "offset")
        right = ("score", "error", "partition", "offset")
        terminal.console().print(terminal.table(headings, map(_row, found), right=right))


def read_marked(record: ConsumerRecord) -> Marked | None:
    """Return what a record of the topic tells; None for one that no encoder has written."""
    try:
        return Marked(decode_anomaly(record.value or b""), record.timestamp)
    except BadEvent:
        return None


def _row(marked: Marked) -> tuple[str, ...]:
    event = marked.event
    return (
        terminal.moment(marked.written_ms / 1000),
        event.item_id,
        f"{event.score:.3g}",
        f"{event.error:.3g}",
        event.model,
        str(event.partition),
        str(event.offset),
    )


def _document(marked: Marked) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(marked.event)
    return {"written_at": marked.written_ms / 1000} | document
