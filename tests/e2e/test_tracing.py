"""Traces from `latentstream publish` through Kafka, workers and Redis to index and list, as a collector gets them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from schemas.events import ItemEvent, encode
from schemas.settings import Settings
from tests.e2e.conftest import Progress, publish, wait_until
from tests.e2e.world import World
from tests.fork_server import shared_fork_server
from tests.processes import environment, worker_process
from workers import connections

EVENT_TRACE = "0af7651916cd43dd8448eb211c80319c"


class Collector:
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            self.services |= {
                one.value.string_value for one in resource.resource.attributes if one.key == "service.name"
            }
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def named(self, name: str) -> list[Span]:
        return [span for span in list(self.spans) if span.name == name]

    def below(self, parent: Span) -> set[str]:
        return {span.name for span in list(self.spans) if span.parent_span_id == parent.span_id}

    def linked(self, name: str, to: Span) -> list[Span]:
        """Return the spans of a name that link to ``to``, each in a trace of its own."""
        return [
            span
            for span in self.named(name)
            if any(link.span_id == to.span_id and link.trace_id == to.trace_id for link in span.links)
            and span.trace_id != to.trace_id
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    found = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    yield found
    found.close()


def publish_file(settings: Settings, kind: str, lines: list[bytes], directory: Path) -> None:
    """Run ``latentstream publish``."""
    file = directory / f"{kind}.jsonl"
    file.write_bytes(b"".join(line + b"\n" for line in lines))
    log = directory / f"{kind}.log"
    command = shared_fork_server().fork(["publish", kind, str(file)], environment(settings), log)
    assert command.wait(60) == 0, log.read_text()


def test_an_event_can_be_followed_to_the_index_and_to_the_list(
    served: Settings,
    trained: tuple[Path, str],
    progress: Progress,
    world: World,
    collector: Collector,
    tmp_path: Path,
) -> None:
    kafka = served.kafka
    traced = served.model_copy(update={"tracing": True, "log_level": "DEBUG"})
    with worker_process(traced, "encoder") as encoder, worker_process(traced, "recommender"):
        publish_file(traced, "items", [encode(event) for event in world.items], tmp_path)
        progress.wait()
        publish_file(traced, "interactions", [encode(event) for event in world.interactions], tmp_path)
        progress.wait()
        (items,) = collector.named(f"publish {kafka.items_topic}")
        (interactions,) = collector.named(f"publish {kafka.interactions_topic}")
        wait_until(lambda: collector.linked(f"process {kafka.items_topic}", items), "the items' batches")
        encoded = collector.linked(f"process {kafka.items_topic}", items)
        assert all(
            collector.below(one) == {"decode", "encode", "dead_letters", "anomalies", "commit"} for one in encoded
        )
        wait_until(lambda: all(collector.linked("index items", one) for one in encoded), "all of them in the index")
        wait_until(lambda: collector.linked(f"process {kafka.interactions_topic}", interactions), "the lists' batches")
        for one in collector.linked(f"process {kafka.interactions_topic}", interactions):
            assert {"read", "histories", "recommend", "lists", "commit"} <= collector.below(one)
            attributes = {attribute.key: attribute.value for attribute in one.attributes}
            assert attributes["messaging.batch.message_count"].int_value > 0
        assert {"latentstream-publish", "latentstream-encoder", "latentstream-recommender"} <= collector.services

        producer = connections.producer(served)
        headers = [("traceparent", f"00-{EVENT_TRACE}-b7ad6b7169203331-01".encode())]
        sent = producer.send(kafka.items_topic, key=b"1", value=b"{", headers=headers).get(timeout=30)
        producer.close()
        publish(served, [ItemEvent(item_id="2")])
        progress.wait()
        told = [json.loads(line) for line in encoder.log().splitlines() if line.startswith("{")]
        (letter,) = [line for line in told if line["event"] == "dead_letter"]
        assert letter["trace_id"] == EVENT_TRACE
        assert (letter["topic"], letter["partition"], letter["offset"]) == (
            kafka.items_topic,
            sent.partition,
            sent.offset,
        )
        assert letter["model"] == trained[1]
        # Commits are lines of their batch's trace.
        batches = {span.trace_id.hex() for span in collector.named(f"process {kafka.items_topic}")}
        committed = [line for line in told if line["event"] == "committed"]
        assert {line["trace_id"] for line in committed if line["offset"] == 0} <= batches
        assert all({"partition", "offset", "following", "model"} <= line.keys() for line in committed)
