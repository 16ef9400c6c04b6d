"""The chart is well-formed, and what it renders is what Kubernetes and the operators know."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.chart import CHART, INSTALLS, Chart, Manifest, Refused, of_kind, required
from tests.deploy.definitions import Definitions

Rendered = dict[str, list[Manifest]]
# Each kind that the chart can make; a cluster of another's operator knows the ones below the line.
KINDS = {
    *("ConfigMap", "CronJob", "Deployment", "Job", "NetworkPolicy", "PersistentVolumeClaim", "PodDisruptionBudget"),
    *("Service", "ServiceAccount", "StatefulSet"),
    *("ExternalSecret", "Kafka", "KafkaNodePool", "KafkaTopic", "KafkaUser", "PodMonitor", "PrometheusRule"),
    *("ScaledObject", "TriggerAuthentication"),
}


@pytest.mark.parametrize("install", INSTALLS)
def test_helm_finds_nothing_to_say(chart: Chart, install: str) -> None:
    assert "0 chart(s) failed" in chart.lint(install)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("Chart.yaml", "version: 0.1.0", "version: first"),
        ("templates/account.yaml", "{{- if", "{{- iff"),
        ("templates/account.yaml", "latentstream.serviceAccount", "latentstream.account"),
        ("templates/account.yaml", "metadata:", "metadata: :"),
        ("templates/NOTES.txt", ".Release.Name ", ".Values.release.name "),
        ("values.schema.json", '"enum"', '"enum" "const"'),
    ],
)
def test_helm_notices_a_broken_copy(chart: Chart, tmp_path: Path, file: str, old: str, new: str) -> None:
    broken = chart.copy(tmp_path / "chart", file, old, new)
    with pytest.raises(Refused):
        broken.lint("dev")


@pytest.mark.parametrize("install", INSTALLS)
def test_everything_is_what_a_cluster_knows(rendered: Rendered, definitions: Definitions, install: str) -> None:
    found = {_name(manifest): definitions.problems(manifest) for manifest in rendered[install]}
    assert {name: problems for name, problems in found.items() if problems} == {}


def test_every_kind_is_rendered(rendered: Rendered) -> None:
    assert {manifest["kind"] for manifests in rendered.values() for manifest in manifests} == KINDS


@pytest.mark.parametrize("kind", sorted(KINDS - {"ConfigMap", "ServiceAccount"}))
def test_a_field_that_a_cluster_does_not_know_is_noticed(
    rendered: Rendered, definitions: Definitions, kind: str
) -> None:
    manifest = _first(rendered, kind)
    manifest["spec"]["replicaz"] = 1
    assert any("replicaz" in problem for problem in definitions.problems(manifest))


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("spec", "template", "spec", "terminationGracePeriodSeconds"), "soon"),
        ("NetworkPolicy", ("spec", "podSelector"), "all"),
        ("ScaledObject", ("spec", "scaleTargetRef"), {}),
        ("TriggerAuthentication", ("spec", "secretTargetRef"), [{"parameter": "password"}]),
        ("Kafka", ("spec", "kafka", "listeners"), [{"name": "tls", "port": "9093"}]),
        ("KafkaNodePool", ("spec", "roles"), ["leader"]),
        ("KafkaTopic", ("spec", "partitions"), 0),
        ("KafkaUser", ("spec", "authentication", "type"), "password"),
        ("ExternalSecret", ("spec", "data"), [{"remoteRef": {"key": "x"}}]),
        ("PodMonitor", ("spec", "podMetricsEndpoints"), [{"interval": "soon"}]),
        ("PrometheusRule", ("spec", "groups"), [{"rules": []}]),
    ],
)
def test_a_wrong_value_is_noticed(
    rendered: Rendered, definitions: Definitions, kind: str, path: tuple[str, ...], value: Any
) -> None:
    manifest = _first(rendered, kind)
    part: Any = manifest
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    assert definitions.problems(manifest)


def test_a_kind_that_nobody_knows_is_noticed(definitions: Definitions) -> None:
    assert definitions.problems({"apiVersion": "apps/v1", "kind": "Deploiment", "metadata": {"name": "x"}})
    assert definitions.problems({"apiVersion": "keda.sh/v2", "kind": "ScaledObject", "metadata": {"name": "x"}})


def test_alerts_and_dashboard_arrive_as_they_are(rendered: Rendered) -> None:
    """With braces that are Prometheus' and Grafana's, not Helm's."""
    (rule,) = of_kind(rendered["production"], "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    (dashboard,) = of_kind(rendered["production"], "ConfigMap")
    assert dashboard["data"]["latentstream.json"] == (CHART / "files" / "dashboard.json").read_text().rstrip("\n")


def test_names_are_not_taken_twice(rendered: Rendered) -> None:
    for manifests in rendered.values():
        names = [_name(manifest) for manifest in manifests]
        assert sorted(names) == sorted(set(names))


def test_a_registry_on_a_volume_is_read_by_all_and_written_by_the_trainer(rendered: Rendered) -> None:
    mounted = {
        deployment["metadata"]["name"]: mount["readOnly"]
        for deployment in of_kind(rendered["dev"], "Deployment")
        for mount in deployment["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        if mount["name"] == "registry"
    }
    assert mounted == {"test-encoder": True, "test-recommender": True, "test-trainer": False}


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_ci_cannot_do_without_the_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="NOTHING of the chart is checked"):
        required(tmp_path / "nowhere")


def _name(manifest: Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def _first(rendered: Rendered, kind: str) -> Manifest:
    found = [manifest for manifests in rendered.values() for manifest in of_kind(manifests, kind)]
    return copy.deepcopy(found[0])
