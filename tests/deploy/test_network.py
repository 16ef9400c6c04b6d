"""Who may connect to whom, as the network policies say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.deploy.chart import Chart, Manifest, of_kind
from tests.deploy.policies import selects

_LABELS = {"app.kubernetes.io/name": "latentstream", "app.kubernetes.io/instance": "test"}


def _rules(manifests: list[Manifest], role: str, direction: str) -> list[Mapping[str, Any]]:
    labels = _LABELS | {"app.kubernetes.io/component": role}
    policies = [policy["spec"] for policy in of_kind(manifests, "NetworkPolicy")]
    found = [policy for policy in policies if selects(policy["podSelector"], labels)]
    return [rule for policy in found for rule in policy.get(direction, [])]


def test_metrics_are_read_by_prometheus_alone(rendered: dict[str, list[Manifest]]) -> None:
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    for role in ("encoder", "recommender", "trainer"):
        assert _rules(rendered["everything"], role, "ingress") == [{"ports": [{"port": "http"}], "from": [monitoring]}]


def test_the_explorer_is_opened_by_those_who_may(rendered: dict[str, list[Manifest]]) -> None:
    (rule,) = _rules(rendered["everything"], "explorer", "ingress")
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"team": "shop"}}}]


def test_redis_is_for_workers_and_readers(rendered: dict[str, list[Manifest]]) -> None:
    (rule,) = _rules(rendered["everything"], "redis", "ingress")
    workers, pages = (one["podSelector"] for one in rule["from"])
    assert all(
        selects(workers, _LABELS | {"app.kubernetes.io/component": role})
        for role in ("encoder", "recommender", "trainer", "explorer")
    )
    assert pages == {"matchLabels": {"app": "pages"}}
    assert _rules(rendered["everything"], "redis", "egress") == []


@pytest.mark.parametrize(
    ("value", "ports"),
    [
        ("registry.url=", {53, 9092, 9093, 9094, 6379}),
        ("registry.url=s3://bucket/models", {53, 9092, 9093, 9094, 6379, 443}),
        ("tracing.endpoint=http://collector:4318", {53, 9092, 9093, 9094, 6379, 443, 4318}),
    ],
)
def test_workers_connect_to_what_they_need(chart: Chart, value: str, ports: set[int]) -> None:
    rules = _rules(chart.install("production", value), "encoder", "egress")
    assert {port["port"] for rule in rules for port in rule["ports"]} == ports
