"""What is read of a worker's metrics."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server

from workers.explorer.scrapes import Figure, Scrapes, figures, places


def test_own_metrics_with_their_labels_and_histograms_by_their_mean() -> None:
    registry = CollectorRegistry()
    Counter("latentstream_things", "x", ["topic"], registry=registry).labels("a b").inc(3)
    Gauge("latentstream_size", "x", registry=registry).set(0.5)
    Gauge("python_size", "x", registry=registry).set(1)
    took = Histogram("latentstream_took_seconds", "x", ["stage"], registry=registry)
    for seconds in (1, 3):
        took.labels("one").observe(seconds)
    took.labels("never")
    assert figures(generate_latest(registry).decode()) == [
        Figure("things", "topic a b", 3),
        Figure("size", "", 0.5),
        Figure("took seconds, mean", "stage one", 2),
    ]


def test_a_name_may_stand_for_many_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the name of a headless Service does; a second family of addresses is not a second worker."""

    def known(host: str, port: str, **_: Any) -> list[Any]:
        assert (host, port) == ("shop-encoder", "8080")
        v4 = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"10.0.0.{number}", 8080)) for number in (1, 2)]
        return [*v4, (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fd00::1", 8080, 0, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", known)
    assert list(places("shop-encoder:8080")) == ["10.0.0.1:8080", "10.0.0.2:8080"]


def test_a_name_that_nobody_knows_is_said_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.explorer.scrapes.EVERY_S", 0.2)
    registry = CollectorRegistry()
    Gauge("latentstream_size", "x", registry=registry).set(0.5)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    scrapes = Scrapes(["nobody.invalid:8080", f"127.0.0.1:{server.server_port}", "[::1]:1", "http://x:1/"])
    scrapes.start()
    try:
        deadline = time.monotonic() + 30
        while not (found := scrapes.workers()) and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        scrapes.close()
        server.shutdown()
        thread.join()
        server.server_close()
    assert found is not None
    unknown, known, refused, mistyped = found
    assert mistyped.problem
    assert unknown.address == "nobody.invalid:8080"
    assert unknown.problem
    assert known.figures == [Figure("size", "", 0.5)]
    assert refused.address == "[::1]:1"
    assert refused.problem
