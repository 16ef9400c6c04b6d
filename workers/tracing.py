"""Traces across Kafka, the workers and Redis, with OpenTelemetry where that is installed and switched on.

An event brings its trace in the header ``traceparent`` (W3C Trace Context). A batch is a trace of its own, with a span
for each stage and links to the traces of its events. The entry that it appends to the change log has its
``traceparent``, to which the span links in which an index takes the entry over.

Switched off, nothing of OpenTelemetry is imported, and a batch costs the question whether it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

import structlog

from schemas.settings import Settings
from workers import metrics
from workers.errors import Repairable

if TYPE_CHECKING:
    from workers.source import PartitionRecords
    from workers.spans import Span, Spans

# Of a record, and of an entry of the change log.
TRACEPARENT: Final = "traceparent"
_PARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")

_spans: Spans | None = None


class TracingUnavailable(Repairable):
    """Traces are wanted, and OpenTelemetry is not installed."""


@contextmanager
def tracing(settings: Settings, service: str) -> Iterator[None]:
    """Trace what happens inside of the ``with`` block, if the settings say so.

    Raises:
        TracingUnavailable: OpenTelemetry is not installed.
    """
    global _spans
    if not settings.tracing:
        yield
        return
    try:
        from workers.spans import Spans
    except ImportError as error:
        raise TracingUnavailable(
            f"LATENTSTREAM_TRACING is on without OpenTelemetry ({error}): pip install 'latentstream[otel]'"
        ) from error
    _spans = Spans(service)
    try:
        yield
    finally:
        spans, _spans = _spans, None
        spans.close()


def begin(topic: str, batches: Sequence[PartitionRecords]) -> Span | None:
    """Return the span of what is made of ``batches``, None where there are no traces. It ends with :func:`ending`."""
    return None if _spans is None else _spans.begin(topic, batches)


@contextmanager
def ending(span: Span | None) -> Iterator[None]:
    """End the span of a batch with the ``with`` block; log lines inside of it have its trace's id."""
    if span is None:
        yield
        return
    with span.ending(), structlog.contextvars.bound_contextvars(trace_id=span.trace_id):
        yield


@contextmanager
def stage(name: str, span: Span | None) -> Iterator[None]:
    """Time a stage of a batch: for the metrics, and in its trace."""
    with metrics.STAGE_SECONDS.labels(name).time(), nullcontext() if span is None else span.stage(name):
        yield


def indexing(entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> AbstractContextManager[object]:
    """Trace that ``entries`` of the change log are taken over."""
    if _spans is None:
        return nullcontext()
    return _spans.linked("index items", (fields.get(TRACEPARENT.encode()) for _, fields in entries))


@contextmanager
def publishing(topic: str) -> Iterator[list[tuple[str, bytes]]]:
    """Give the headers for events that are published inside of the ``with`` block, none where there are no traces."""
    if _spans is None:
        yield []
        return
    with _spans.publishing(topic) as parent:
        yield [(TRACEPARENT, parent)]


def parents(batches: Iterable[PartitionRecords]) -> Iterator[bytes | None]:
    """Yield the ``traceparent`` of each record that has one."""
    for batch in batches:
        for record in batch.records:
            for name, value in record.headers:
                if name == TRACEPARENT:
                    yield value


def ids(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, Any]:
    """Return what a log line about a record with ``headers`` says of its trace: ``trace_id``, or nothing."""
    for name, value in headers:
        if name == TRACEPARENT and (found := _PARENT.fullmatch(value or b"")):
            return {"trace_id": found[1].decode()}
    return {}
