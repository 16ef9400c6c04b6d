"""Percentiles of what was measured."""

import pytest

from workers.bench.latency import percentile, summarize


def test_percentile_is_a_value_that_was_measured() -> None:
    values = [float(n) for n in range(1, 201)]
    assert percentile(values, 50) == 100
    assert percentile(values, 99) == 198
    assert percentile(values, 100) == 200
    assert percentile(values, 0) == 1
    assert percentile([7.0], 99) == 7


def test_summary_is_in_milliseconds_whatever_the_order() -> None:
    summary = summarize([0.5, 0.001, 0.002, 0.003], missing=2)
    assert (summary.p50, summary.p99, summary.max) == (2.0, 500.0, 500.0)
    assert (summary.samples, summary.missing) == (4, 2)


def test_nothing_measured_is_no_zero() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        summarize([])
