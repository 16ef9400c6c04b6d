"""What is read of a worker's metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from workers.explorer.scrapes import Figure, figures


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
