"""The runbook's commands, as far as they can be run without a cluster."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.deploy.chart import CHART, Chart, Manifest
from tests.processes import REPOSITORY

RUNBOOK: Final = (REPOSITORY / "deploy" / "README.md").read_text().replace("\\\n", " ")
HELM: Final = re.findall(r"^ *(helm (?:install|template|upgrade) [^|\n#]*)", RUNBOOK, re.MULTILINE)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Write down the values that the runbook has a stranger write."""
    found = re.search(r"```yaml\n( *)# shop.yaml\n(.*?)```", RUNBOOK, re.DOTALL)
    assert found
    (tmp_path / "shop.yaml").write_text(found[2])
    return tmp_path


def test_there_are_commands() -> None:
    assert {command.split()[1] for command in HELM} == {"install", "template", "upgrade"}


@pytest.mark.parametrize("command", HELM)
def test_a_stranger_can_follow(chart: Chart, directory: Path, command: str) -> None:
    words = shlex.split(command)
    assert words[2:4] == ["shop", str(CHART.relative_to(REPOSITORY))]
    values = [word for option, word in itertools.pairwise(words) if option == "-f"]
    sets = [word for option, word in itertools.pairwise(words) if option == "--set"]
    files = [directory / value if value == "shop.yaml" else REPOSITORY / value for value in values]
    images = {
        container["image"]
        for manifest in chart.render(*files, sets=sets)
        if manifest["kind"] == "Deployment"
        for container in manifest["spec"]["template"]["spec"]["containers"]
    }
    assert images == {"registry.example.com/latentstream:0.1.0-cpu"}


def test_what_it_sets_reaches_the_workers(chart: Chart, directory: Path) -> None:
    production = chart.render("values-production.yaml", directory / "shop.yaml")
    shown = yaml.safe_dump(production)
    assert "s3://shop-latentstream/models" in shown
    assert "hybrid" in shown


def test_every_object_that_it_names_is_made(rendered: dict[str, list[Manifest]]) -> None:
    kinds = {"deploy": "Deployment", "service": "Service", "statefulset": "StatefulSet", "scaledobject": "ScaledObject"}
    named = {
        (kinds[kind], f"test-{name}") for kind, name in re.findall(rf"({'|'.join(kinds)})[/ ]shop-([a-z]+)", RUNBOOK)
    }
    made = {
        (manifest["kind"], manifest["metadata"]["name"]) for manifests in rendered.values() for manifest in manifests
    }
    assert ("Service", "test-explorer") in named
    assert named - made == set()


def _secrets(part: Any) -> Iterator[str]:
    """Return the names of the Secrets that a manifest refers to."""
    if isinstance(part, list):
        for one in part:
            yield from _secrets(one)
    elif isinstance(part, dict):
        for name, inner in part.items():
            if name in ("secretKeyRef", "secretRef", "secret"):
                yield inner.get("name", inner.get("secretName"))
            elif name == "secretTargetRef":
                yield from (one["name"] for one in inner)
            else:
                yield from _secrets(inner)


def test_the_secrets_are_those_of_the_values(rendered: dict[str, list[Manifest]]) -> None:
    """What a production install refers to is what the runbook has a stranger create, and so for the try-out."""
    created = {
        heading: set(re.findall(r"create secret generic ([a-z-]+)", text))
        for heading, text in re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", RUNBOOK, re.MULTILINE)
    }
    assert set(_secrets(rendered["production"])) == created["Install"]
    # Strimzi makes those of its cluster.
    assert set(_secrets(rendered["dev"])) - {"test", "test-cluster-ca-cert"} == created["Try it"]


def test_the_topics_are_those_of_the_workers() -> None:
    """As the chart makes them for people who have no Kafka, which another test compares with what workers make."""
    assert RUNBOOK.count("--config max.message.bytes=1114112") == 3
    assert "topic items --config cleanup.policy=compact" in RUNBOOK
    assert "topic anomalies --config retention.ms=2592000000" in RUNBOOK
