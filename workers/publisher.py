"""Files of events, a JSON object a line, to Kafka: checked before they are sent, every acknowledgement waited for."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Literal, NamedTuple, cast

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError
from kafka.producer.future import FutureRecordMetadata

from schemas.events import (
    CONTENT_TYPE_HEADER,
    JSON,
    MSGPACK,
    BadEvent,
    EventTooLarge,
    Identifier,
    InvalidEvent,
    decode_interaction,
    decode_item,
    encode,
    feature_vector,
)
from workers.errors import Repairable
from workers.refusals import raise_if_denied

Kind = Literal["items", "interactions"]
STDIN: Final = Path("-")
# A list of numbers takes many times more room as JSON text than as MessagePack.
LINE_LIMIT_FACTOR: Final = 8
MAX_UNACKNOWLEDGED: Final = 5_000
MAX_UNACKNOWLEDGED_BYTES: Final = 32 << 20
ACKNOWLEDGED_WITHIN_S: Final = 130.0
REPORTED_LINES: Final = 20
_GZIP: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"
_TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)


class PublishFailed(Repairable):
    """Kafka did not take an event that was right."""


class Message(NamedTuple):
    """A checked event as it goes to Kafka; ``value`` None deletes the item."""

    key: bytes
    value: bytes | None


class Place(NamedTuple):
    """Where a line stands."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class BadLine(NamedTuple):
    """A line that was not sent, and why."""

    place: Place
    reason: str


@dataclass(slots=True)
class Report:
    """What became of the lines read so far; only the first bad ones are kept."""

    lines: int = 0
    arrived: int = 0
    bad: int = 0
    examples: list[BadLine] = field(default_factory=list)

    def reject(self, place: Place, reason: str) -> None:
        """Count a line that is not sent."""
        self.bad += 1
        if len(self.examples) < REPORTED_LINES:
            self.examples.append(BadLine(place, reason))


class _Deletion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    item_id: Identifier
    deleted: Literal[True]
    schema_version: Literal[1] = 1


class _MayDelete(msgspec.Struct, frozen=True):
    deleted: bool = False


_MAY_DELETE: Final = msgspec.json.Decoder(_MayDelete)
_DELETION: Final = msgspec.json.Decoder(_Deletion)


def checked(kind: Kind, line: bytes, content_type: str, max_bytes: int) -> Message:
    """Return the message of one line; as JSON, the line goes out as it stands.

    Raises:
        BadEvent: a worker would refuse the event.
    """
    try:
        message = _item(line, content_type) if kind == "items" else _interaction(line, content_type)
    except OverflowError as error:
        raise InvalidEvent(f"it has no MessagePack form: {error}") from error
    if message.value is not None and len(message.value) > max_bytes:
        raise EventTooLarge(f"the value has {len(message.value)} bytes, allowed are {max_bytes}")
    return message


def _item(line: bytes, content_type: str) -> Message:
    if b'"deleted"' in line and (deleted := _deleted(line)) is not None:
        return Message(deleted.encode(), None)
    event = decode_item(line)
    feature_vector(event)
    return Message(event.item_id.encode(), encode(event, MSGPACK) if content_type == MSGPACK else line)


def _interaction(line: bytes, content_type: str) -> Message:
    event = decode_interaction(line)
    return Message(event.user_id.encode(), encode(event, MSGPACK) if content_type == MSGPACK else line)


def _deleted(line: bytes) -> str | None:
    """Return the id that a deletion names, None where the line is an event (or no JSON at all)."""
    try:
        if not _MAY_DELETE.decode(line).deleted:
            return None
        return _DELETION.decode(line).item_id
    except msgspec.ValidationError as error:
        raise InvalidEvent(f"not a deletion: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class EventFile:
    """The lines of a file, of a gzip file (told by its first bytes), or of standard input (``-``)."""

    def __init__(self, path: Path, longest_line: int) -> None:
        self.name = "stdin" if path == STDIN else str(path)
        self._raw = cast(BinaryIO, sys.stdin.buffer if path == STDIN else path.open("rb"))
        self._longest = longest_line
        self.bytes_read = 0

    def lines(self, report: Report) -> Iterator[tuple[Place, bytes]]:
        """Yield each line that is not empty, without its end; what cannot be read goes to ``report``."""
        # Standard input is not ours to close.
        with nullcontext() if self._raw is sys.stdin.buffer else self._raw:
            counted = io.BufferedReader(_Counting(self._raw, self), 1 << 18)
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=counted) if counted.peek(2)[:2] == _GZIP else counted)
            number = 0
            try:
                while line := stream.readline(self._longest):
                    number += 1
                    place = Place(self.name, number)
                    if len(line) == self._longest and not line.endswith(b"\n"):
                        _skip_line(stream, self._longest)
                        report.lines += 1
                        report.reject(place, f"EventTooLarge: the line is longer than {self._longest} bytes")
                        continue
                    line = (line.removeprefix(_BOM) if number == 1 else line).strip()
                    if line:
                        report.lines += 1
                        yield place, line
            except (EOFError, zlib.error, OSError) as error:
                report.reject(Place(self.name, number + 1), f"the file cannot be read further: {error}")


class _Counting(io.RawIOBase):
    """Counts the bytes of the file itself, which its lines do not tell when it is compressed."""

    def __init__(self, raw: BinaryIO, file: EventFile) -> None:
        self._raw = raw
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer)
        # read1 gives what a pipe has now; stdin would otherwise wait until the buffer is full.
        read1 = getattr(self._raw, "read1", self._raw.read)
        data = cast(bytes, read1(len(view)))
        view[: len(data)] = data
        self._file.bytes_read += len(data)
        return len(data)


def _skip_line(stream: BinaryIO, step: int) -> None:
    while (rest := stream.readline(step)) and not rest.endswith(b"\n"):
        pass


class Publisher:
    """Sends checked lines to one topic; what waits for its acknowledgement is bounded."""

    def __init__(
        self,
        producer: KafkaProducer,
        topic: str,
        kind: Kind,
        content_type: str,
        max_bytes: int,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._kind = kind
        self._content_type = content_type
        self._max_bytes = max_bytes
        self._headers = [(CONTENT_TYPE_HEADER, content_type.encode())] if content_type != JSON else []
        self._headers += headers
        self._waiting: deque[tuple[Place, int, FutureRecordMetadata]] = deque()
        self._waiting_bytes = 0
        self.report = Report()

    def publish(self, file: EventFile, on_line: Callable[[], None]) -> None:
        """Send the good lines of ``file``; call ``on_line`` after each line.

        Raises:
            PublishFailed: Kafka did not acknowledge a line.
        """
        for place, line in file.lines(self.report):
            try:
                message = checked(self._kind, line, self._content_type, self._max_bytes)
            except BadEvent as reason:
                self.report.reject(place, f"{type(reason).__name__}: {reason}")
            else:
                self._send(place, message)
            on_line()

    def finish(self) -> None:
        """Wait until everything sent is acknowledged.

        Raises:
            PublishFailed: as above.
        """
        self._settle(0, 0)

    def count_arrived(self) -> None:
        """Count what is acknowledged already, without waiting (after an interruption)."""
        while self._waiting:
            _, _, future = self._waiting.popleft()
            self.report.arrived += future.succeeded()

    def _send(self, place: Place, message: Message) -> None:
        try:
            future = self._producer.send(self._topic, key=message.key, value=message.value, headers=self._headers)
        except KafkaError as error:
            raise self._failed(place, error) from error
        weight = len(message.value or b"") + len(message.key)
        self._waiting.append((place, weight, future))
        self._waiting_bytes += weight
        self._settle(MAX_UNACKNOWLEDGED, MAX_UNACKNOWLEDGED_BYTES)

    def _settle(self, most: int, most_bytes: int) -> None:
        """Take in what is acknowledged; wait for the oldest until no more than the limits are left."""
        while self._waiting:
            place, weight, future = self._waiting[0]
            if not future.is_done and len(self._waiting) <= most and self._waiting_bytes <= most_bytes:
                return
            try:
                future.get(timeout=ACKNOWLEDGED_WITHIN_S)
                self.report.arrived += 1
            except _TOO_LARGE as error:
                self.report.reject(place, f"Kafka refuses it as too large: {error}")
            except KafkaError as error:
                raise self._failed(place, error) from error
            self._waiting.popleft()
            self._waiting_bytes -= weight

    def _failed(self, place: Place, error: KafkaError) -> PublishFailed:
        raise_if_denied(error)
        return PublishFailed(
            f"{place}: Kafka did not take the event: {type(error).__name__}: {error}. "
            "To publish the same lines again does no harm: they replace one another"
        )
