"""Reading and checking lines, without Kafka."""

import base64
import gzip
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from schemas.events import (
    JSON,
    MSGPACK,
    BadEvent,
    EventTooLarge,
    InvalidEvent,
    ItemEvent,
    MalformedEvent,
    NonFinite,
    WrongShape,
    decode_interaction,
    decode_item,
)
from workers.publisher import REPORTED_LINES, STDIN, EventFile, Report, checked

LIMIT = 10_000


def read(path: Path, longest: int = LIMIT) -> tuple[list[tuple[str, bytes]], Report]:
    report = Report()
    return [(str(place), line) for place, line in EventFile(path, longest).lines(report)], report


def test_json_goes_out_as_it_stands() -> None:
    line = b'{"item_id": "1", "from_the_future": [1], "attributes": {"title": "\\u611b"}}'
    assert checked("items", line, JSON, LIMIT) == (b"1", line)
    line = b'{"user_id": "u", "item_id": "1", "weight": 0}'
    assert checked("interactions", line, JSON, LIMIT) == (b"u", line)


def test_messagepack_means_the_same() -> None:
    features = base64.b64encode(np.asarray([1, 2], np.float32).tobytes()).decode()
    line = json.dumps({"item_id": "é", "features": features, "attributes": {"n": 1, "tags": ["a"]}}).encode()
    message = checked("items", line, MSGPACK, LIMIT)
    assert message.key == "é".encode()
    assert message.value is not None
    assert decode_item(message.value, MSGPACK) == decode_item(line)
    line = b'{"user_id": "u", "item_id": "1", "timestamp": 893286638.5}'
    message = checked("interactions", line, MSGPACK, LIMIT)
    assert message.value is not None
    assert decode_interaction(message.value, MSGPACK) == decode_interaction(line)


def test_a_deletion_has_a_null_value() -> None:
    assert checked("items", b'{"item_id": "1", "deleted": true}', JSON, LIMIT) == (b"1", None)
    assert checked("items", b'{"deleted": true, "schema_version": 1, "item_id": "1"}', MSGPACK, LIMIT) == (b"1", None)


def test_deleted_elsewhere_is_no_deletion() -> None:
    line = b'{"item_id": "1", "attributes": {"deleted": true, "title": "\\"deleted\\""}}'
    assert checked("items", line, JSON, LIMIT).value == line
    line = b'{"item_id": "1", "deleted": false}'
    assert checked("items", line, JSON, LIMIT).value == line


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"{", MalformedEvent),
        (b"not json", MalformedEvent),
        (b'{"item_id": "1", "deleted": true', MalformedEvent),
        (b'{"item_id": "a\xff"}', MalformedEvent),
        (b"[1]", InvalidEvent),
        (b'{"item_id": ""}', InvalidEvent),
        (b'{"item_id": 1}', InvalidEvent),
        (b'{"item_id": "' + b"x" * 257 + b'"}', InvalidEvent),
        (b'{"item_id": "1", "schema_version": 2}', InvalidEvent),
        (b'{"item_id": "1", "features": [1], "image": {"shape": [1, 1], "data": "AA=="}}', InvalidEvent),
        (b'{"item_id": "1", "image": {"shape": [2, 2], "data": "AA=="}}', WrongShape),
        (b'{"item_id": "1", "features": []}', WrongShape),
        (b'{"item_id": "1", "features": [1e300]}', NonFinite),
        (b'{"item_id": "1", "deleted": "yes"}', InvalidEvent),
        (b'{"item_id": "1", "deleted": true, "features": [1]}', InvalidEvent),
        (b'{"deleted": true}', InvalidEvent),
        (b'{"item_id": "1", "attributes": {"x": "' + b"x" * LIMIT + b'"}}', EventTooLarge),
    ],
)
def test_what_a_worker_would_refuse_is_refused(line: bytes, error: type[BadEvent]) -> None:
    with pytest.raises(error):
        checked("items", line, JSON, LIMIT)


def test_an_integer_that_messagepack_cannot_hold_is_refused_only_there() -> None:
    line = b'{"item_id": "1", "attributes": {"n": ' + b"9" * 30 + b"}}"
    assert checked("items", line, JSON, LIMIT).value == line
    with pytest.raises(InvalidEvent, match="MessagePack"):
        checked("items", line, MSGPACK, LIMIT)


def test_a_line_too_long_as_json_may_fit_as_messagepack() -> None:
    event = ItemEvent("1", features=[0.1234567890123456] * 400)
    line = json.dumps({"item_id": "1", "features": event.features}).encode()
    with pytest.raises(EventTooLarge):
        checked("items", line, JSON, 5_000)
    assert checked("items", line, MSGPACK, 5_000).key == b"1"


@pytest.mark.parametrize("compressed", [False, True])
def test_lines_are_numbered_and_empty_ones_are_skipped(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "events.jsonl"
    data = b'\xef\xbb\xbf{"a"}\r\n\n  \n{"b"}'
    path.write_bytes(gzip.compress(data) if compressed else data)
    lines, report = read(path)
    assert lines == [(f"{path}:1", b'{"a"}'), (f"{path}:4", b'{"b"}')]
    assert (report.lines, report.bad) == (2, 0)


def test_an_endless_line_is_skipped_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"x" * 1000 + b"\n{}\n")
    lines, report = read(path, longest=64)
    assert lines == [(f"{path}:2", b"{}")]
    assert report.bad == 1
    assert str(report.examples[0].place) == f"{path}:1"
    assert "64 bytes" in report.examples[0].reason


def test_a_cut_gzip_file_gives_its_lines_and_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(b'{"n": %d}\n' % n for n in range(50_000)))[:-5000])
    lines, report = read(path)
    assert lines[0] == (f"{path}:1", b'{"n": 0}')
    assert report.bad == 1
    assert report.examples[0].place.line == len(lines) + 1
    assert "cannot be read further" in report.examples[0].reason


def test_standard_input_may_be_compressed_and_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(gzip.compress(b"{}\n")))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert read(STDIN)[0] == [("stdin:1", b"{}")]
    assert not stdin.closed


def test_bytes_read_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(b"{}\n" * 10_000))
    file = EventFile(path, LIMIT)
    assert len(list(file.lines(Report()))) == 10_000
    assert file.bytes_read == path.stat().st_size


def test_a_report_keeps_the_first_bad_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes((b"x" * 100 + b"\n") * 1000)
    report = read(path, longest=64)[1]
    assert report.bad == 1000
    assert [line.place.line for line in report.examples] == list(range(1, REPORTED_LINES + 1))
