"""What becomes of traces without a worker: switched off, without OpenTelemetry, and with many events."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from kafka.consumer.fetcher import ConsumerRecord
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from schemas.settings import Settings
from tests.processes import REPOSITORY
from workers import tracing
from workers.delivery import Position
from workers.source import Owned, PartitionRecords
from workers.spans import MOST_LINKS, Spans


def batch(headers: list[bytes | None]) -> PartitionRecords:
    records = [
        ConsumerRecord("items", 3, 0, 7 + n, 0, 0, b"k", b"v", [("traceparent", header)], None, 1, 1, 0)
        for n, header in enumerate(headers)
    ]
    return PartitionRecords(Owned(3, "", Position(1, 7, 0, 1, 0)), records)


def parent(number: int) -> bytes:
    return f"00-{number:032x}-{number:016x}-01".encode()


def test_a_batch_links_to_each_different_trace_up_to_a_bound_and_passes_over_what_is_none() -> None:
    exporter = InMemorySpanExporter()
    spans = Spans("test", exporter)
    few = spans.begin("items", [batch([parent(1), None, b"nonsense", b"\xff", parent(1), parent(2)])])
    with few.ending(), few.stage("encode"):
        pass
    with spans.begin("items", [batch([parent(n + 1) for n in range(2 * MOST_LINKS)])]).ending():
        pass
    spans.close()
    stage, first, second = exporter.get_finished_spans()
    assert [link.context.trace_id for link in first.links] == [1, 2]
    assert len(second.links) == MOST_LINKS
    assert stage.parent is not None
    assert stage.parent.span_id == first.context.span_id
    assert dict(first.attributes or {})["latentstream.offsets"] == ("3:7-12",)


def test_a_batch_that_fails_is_marked_without_what_its_error_says() -> None:
    exporter = InMemorySpanExporter()
    spans = Spans("test", exporter)
    with pytest.raises(ValueError, match="secret"), tracing.ending(spans.begin("items", [batch([None])])):
        raise ValueError("secret")
    spans.close()
    (span,) = exporter.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError")
    assert "secret" not in span.to_json()


def test_switched_off_nothing_is_imported_and_no_event_is_looked_at() -> None:
    code = "import sys, workers.run; sys.exit('workers.spans' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, timeout=60, check=False).returncode == 0
    untouchable: Any = object()
    assert tracing.begin("items", untouchable) is None
    with tracing.ending(None), tracing.stage("decode", None), tracing.indexing(untouchable):
        pass
    with tracing.publishing("items") as headers:
        assert headers == []


def test_without_opentelemetry_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "workers.spans", None)
    with pytest.raises(tracing.TracingUnavailable, match=r"pip install 'latentstream\[otel\]'"):
        tracing.tracing(Settings(tracing=True), "encoder").__enter__()


@pytest.mark.parametrize("header", [None, b"", b"00-12-34-01", b"00-" + b"g" * 32 + b"-" + b"1" * 16 + b"-01"])
def test_a_damaged_header_gives_no_trace_id(header: bytes | None) -> None:
    assert tracing.ids([("traceparent", header)]) == {}
