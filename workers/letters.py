"""Reading dead letters back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from kafka.consumer.fetcher import ConsumerRecord

from workers.dead_letters import (
    HEADER_CUT,
    HEADER_EXCEPTION,
    HEADER_MESSAGE,
    HEADER_OFFSET,
    HEADER_PARTITION,
    HEADER_TIMESTAMP,
    HEADER_TOPIC,
)
from workers.record_batches import UNREAD_HEADER

PREVIEW_BYTES: Final = 200

Origin = tuple[str, int, int]


class Letter(NamedTuple):
    """What a dead letter tells, without the whole value.

    Where it is ``cut``, it does not hold the event: only the beginning of it, or a whole batch as it was.
    ``event_ms`` is the time of the event's record.
    """

    topic: str
    partition: int
    offset: int
    exception: str
    message: str
    key: bytes | None
    value_start: bytes | None
    value_bytes: int
    cut: bool
    written_ms: int
    event_ms: int | None

    @property
    def origin(self) -> Origin:
        """Where the event stands; two letters with the same origin are copies."""
        return self.topic, self.partition, self.offset


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters are meant: of a topic, of an exception class, or with None of any."""

    topic: str | None = None
    reason: str | None = None

    def accepts(self, letter: Letter) -> bool:
        """Return whether ``letter`` is meant."""
        return self.topic in (None, letter.topic) and self.reason in (None, letter.exception)


def read_letter(record: ConsumerRecord) -> Letter:
    """Return what a record of the dead-letters topic tells; -1 and "" where it does not."""
    headers = {name: value or b"" for name, value in record.headers}

    def text(name: str) -> str:
        return headers.get(name, b"").decode("utf-8", "backslashreplace")

    def number(name: str) -> int:
        digits = text(name)
        return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else -1

    value = record.value
    return Letter(
        topic=text(HEADER_TOPIC),
        partition=number(HEADER_PARTITION),
        offset=number(HEADER_OFFSET),
        exception=text(HEADER_EXCEPTION),
        message=text(HEADER_MESSAGE),
        key=record.key,
        value_start=None if value is None else value[:PREVIEW_BYTES],
        value_bytes=max(number(HEADER_CUT), len(value or b"")),
        cut=HEADER_CUT in headers or UNREAD_HEADER in headers,
        written_ms=record.timestamp,
        event_ms=None if (event_ms := number(HEADER_TIMESTAMP)) < 0 else event_ms,
    )
