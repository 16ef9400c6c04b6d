"""What :mod:`workers.tracing` needs of OpenTelemetry; imported only where traces are wanted.

Where they go to and which are kept, the variables of OpenTelemetry say: ``OTEL_EXPORTER_OTLP_ENDPOINT`` (HTTP),
``OTEL_TRACES_SAMPLER``, ``OTEL_SERVICE_NAME``. Names and attributes are those of its conventions for messaging.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_SERVICE_NAME
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Link, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from workers import tracing

if TYPE_CHECKING:
    from workers.source import PartitionRecords

# A batch has up to thousands of events, and collectors take some hundred links.
MOST_LINKS: Final = 64
_PROPAGATOR: Final = TraceContextTextMapPropagator()


class Spans:
    """Makes spans and exports them."""

    def __init__(self, service: str, exporter: SpanExporter | None = None) -> None:
        named = {} if OTEL_SERVICE_NAME in os.environ else {SERVICE_NAME: f"latentstream-{service}"}
        self._provider = TracerProvider(resource=Resource.create(named))
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("latentstream")

    def close(self) -> None:
        """Export what is left."""
        self._provider.shutdown()

    def begin(self, topic: str, batches: Sequence[PartitionRecords]) -> Span:
        """Return the span of a batch of ``topic``."""
        offsets = [f"{batch.owned.partition}:{batch.records[0].offset}-{batch.records[-1].offset}" for batch in batches]
        span = self._tracer.start_span(
            f"process {topic}",
            Context(),
            SpanKind.CONSUMER,
            {
                **_messaging(topic, "process"),
                "messaging.batch.message_count": sum(len(batch.records) for batch in batches),
                "latentstream.offsets": offsets,
            },
            _links(tracing.parents(batches)),
        )
        return Span(self._tracer, span)

    def linked(self, name: str, parents: Iterable[bytes | None]) -> AbstractContextManager[object]:
        """Return a span around a ``with`` block that links to the spans of ``parents``."""
        return self._tracer.start_as_current_span(name, Context(), SpanKind.INTERNAL, links=_links(parents))

    @contextmanager
    def publishing(self, topic: str) -> Iterator[bytes]:
        """Give the ``traceparent`` of a span around the ``with`` block."""
        with self._tracer.start_as_current_span(
            f"publish {topic}", kind=SpanKind.PRODUCER, attributes=_messaging(topic, "send")
        ) as span:
            yield Span(self._tracer, span).traceparent.encode()


class Span:
    """The span of one batch; its stages may be on several threads."""

    def __init__(self, tracer: trace.Tracer, span: trace.Span) -> None:
        self._tracer = tracer
        self._span = span
        self._context = trace.set_span_in_context(span, Context())

    @property
    def trace_id(self) -> str:
        """The id of its trace, 32 hexadecimal digits."""
        return trace.format_trace_id(self._span.get_span_context().trace_id)

    @property
    def traceparent(self) -> str:
        """What names it to others."""
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, self._context)
        return carrier[tracing.TRACEPARENT]

    def stage(self, name: str) -> AbstractContextManager[object]:
        """Return a span below it, around a ``with`` block."""
        return self._tracer.start_as_current_span(name, self._context)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """End with the ``with`` block; say so where that fails."""
        try:
            yield
        except Exception as error:
            # The message may quote an event.
            self._span.set_status(StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            self._span.end()


def _messaging(topic: str, operation: str) -> dict[str, str]:
    return {
        "messaging.system": "kafka",
        "messaging.destination.name": topic,
        "messaging.operation.type": operation,
    }


def _links(parents: Iterable[bytes | None]) -> list[Link]:
    """Return links to the first different ones of ``parents``; what is no sound ``traceparent`` is passed over."""
    links: dict[bytes, Link] = {}
    for parent in parents:
        if len(links) == MOST_LINKS:
            break
        if parent is not None and parent not in links:
            carrier = {tracing.TRACEPARENT: parent.decode("ascii", "replace")}
            context = trace.get_current_span(_PROPAGATOR.extract(carrier, Context())).get_span_context()
            if context.is_valid:
                links[parent] = Link(context)
    return list(links.values())
