"""Who may connect to whom, as the network policies say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.deploy.chart import Chart, Manifest, environment, of_kind, pods
from tests.deploy.policies import selects

_LABELS = {"app.kubernetes.io/name": "latentstream", "app.kubernetes.io/instance": "test"}


def _labelled(role: str) -> dict[str, str]:
    return _LABELS | {"app.kubernetes.io/component": role}


def _rules(manifests: list[Manifest], role: str, direction: str) -> list[Mapping[str, Any]]:
    labels = _labelled(role)
    policies = [policy["spec"] for policy in of_kind(manifests, "NetworkPolicy")]
    found = [policy for policy in policies if selects(policy["podSelector"], labels)]
    return [rule for policy in found for rule in policy.get(direction, [])]


def test_metrics_are_read_by_prometheus_and_the_explorer_alone(rendered: dict[str, list[Manifest]]) -> None:
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    for role in ("encoder", "recommender", "trainer"):
        (rule,) = _rules(rendered["everything"], role, "ingress")
        first, second = rule["from"]
        assert rule["ports"] == [{"port": "http"}]
        assert first == monitoring
        others = {"encoder", "recommender", "trainer", "explorer", "redis"}
        assert [one for one in others if selects(second["podSelector"], _labelled(one))] == ["explorer"]


def test_the_explorer_finds_the_workers_by_the_names_of_services(rendered: dict[str, list[Manifest]]) -> None:
    manifests = rendered["everything"]
    (pod,) = (pod for name, pod in pods(manifests).items() if name.endswith("-explorer"))
    addresses = json.loads(str(environment(pod)["LATENTSTREAM_EXPLORER__WORKERS"]))
    services = {service["metadata"]["name"]: service["spec"] for service in of_kind(manifests, "Service")}
    rules = [rule for rule in _rules(manifests, "explorer", "egress") if rule["ports"] == [{"port": "http"}]]
    assert len(addresses) == 2
    for role, address in zip(("encoder", "recommender"), addresses, strict=True):
        name, _, port = address.partition(":")
        assert services[name]["clusterIP"] == "None"
        assert services[name]["selector"] == _labelled(role)
        assert int(port) == services[name]["ports"][0]["port"] == pod["containers"][0]["ports"][0]["containerPort"]
        assert any(selects(peer["podSelector"], _labelled(role)) for rule in rules for peer in rule["to"])


def test_the_explorer_is_opened_by_those_who_may(rendered: dict[str, list[Manifest]]) -> None:
    (rule,) = _rules(rendered["everything"], "explorer", "ingress")
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"team": "shop"}}}]


def test_keda_finds_the_kafka_of_the_chart_from_its_own_namespace(rendered: dict[str, list[Manifest]]) -> None:
    manifests = rendered["everything"]
    (cluster,) = of_kind(manifests, "Kafka")
    triggers = [
        trigger["metadata"] for one in of_kind(manifests, "ScaledObject") for trigger in one["spec"]["triggers"]
    ]
    assert len(triggers) == 2
    for trigger in triggers:
        host = trigger["bootstrapServers"].partition(":")[0].split(".")
        assert host[0] == f"{cluster['metadata']['name']}-kafka-bootstrap"
        assert host[2:] == ["svc"]


def test_redis_is_for_workers_and_readers(rendered: dict[str, list[Manifest]]) -> None:
    (rule,) = _rules(rendered["everything"], "redis", "ingress")
    workers, pages = (one["podSelector"] for one in rule["from"])
    assert all(selects(workers, _labelled(role)) for role in ("encoder", "recommender", "trainer", "explorer"))
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
