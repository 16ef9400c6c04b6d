"""Metrics by the conventions of Prometheus, each with a line in `deploy/metrics.md`."""

from __future__ import annotations

import re

import redis
from kafka.errors import KafkaTimeoutError
from prometheus_client.metrics import MetricWrapperBase

from tests.processes import REPOSITORY
from workers import metrics

DECLARED: list[MetricWrapperBase] = [one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase)]
UNITS = {"_seconds": r"\b(Age|Duration|Seconds|When)\b", "_bytes": r"\b(Memory|bytes)\b"}


def row(metric: MetricWrapperBase) -> str:
    (family,) = metric.describe()
    name = family.name + ("_total" if family.type == "counter" else "")
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)
    return f"| `{name}` | {family.type} | {labels} | {family.documentation} |"


def test_each_metric_is_documented() -> None:
    expected = [row(metric) for metric in DECLARED]
    told = re.findall(r"^\| `.*$", (REPOSITORY / "deploy" / "metrics.md").read_text(), re.MULTILINE)
    assert told == expected, "deploy/metrics.md has these rows:\n" + "\n".join(expected)


def test_names_have_the_units_of_what_they_measure() -> None:
    assert len(DECLARED) >= 40
    for metric in DECLARED:
        (family,) = metric.describe()
        assert re.fullmatch(r"latentstream_[a-z]+(_[a-z]+)*", family.name), family.name
        assert re.fullmatch(r"[A-Z].*\.", family.documentation), family.name
        for suffix, words in UNITS.items():
            measured = re.search(words, family.documentation) is not None
            assert family.name.endswith(suffix) == measured, f"{family.name} has {suffix}, or its help tells of it"


def test_what_alerts_take_rates_of_is_there_before_it_happens() -> None:
    metrics.begin("encoder", "begun")
    value = metrics.REGISTRY.get_sample_value
    assert value("latentstream_worker_info", {"role": "encoder"}) == 1
    assert value("latentstream_events_total", {"topic": "begun"}) == 0
    assert value("latentstream_refused_writes_total", {"topic": "begun"}) == 0
    for reason in ("MalformedEvent", "InvalidEvent", "EventTooLarge", "WrongShape", "KeyMismatch"):
        assert value("latentstream_dead_letters_total", {"topic": "begun", "reason": reason}) == 0
    for stage in metrics.STAGES["encoder"]:
        assert value("latentstream_stage_seconds_count", {"stage": stage}) is not None
    metrics.begin("trainer")
    assert value("latentstream_trainings_total", {"outcome": "failed"}) is not None


def test_a_failure_is_counted_for_the_system_that_failed() -> None:
    def counted(system: str, error: str) -> float:
        return metrics.REGISTRY.get_sample_value("latentstream_failures_total", {"system": system, "error": error}) or 0

    before = counted("redis", "TimeoutError"), counted("kafka", "KafkaTimeoutError")
    wrapped = RuntimeError("no connection")
    wrapped.__cause__ = redis.exceptions.TimeoutError("silent")
    for error in (redis.exceptions.TimeoutError("silent"), KafkaTimeoutError("silent"), wrapped):
        metrics.count_failure(error)
    assert counted("redis", "TimeoutError") == before[0] + 2
    assert counted("kafka", "KafkaTimeoutError") == before[1] + 1


def test_all_metrics_are_in_one_registry() -> None:
    declared = {family.name for one in DECLARED for family in one.describe()}
    assert declared <= {family.name for family in metrics.REGISTRY.collect()}
