"""The Helm chart, rendered."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.processes import REPOSITORY

CHART: Final = REPOSITORY / "deploy" / "chart" / "latentstream"
EVERYTHING: Final = Path(__file__).with_name("everything.yaml")
# The values files in the order in which an install is given them.
INSTALLS: Final[Mapping[str, Sequence[str]]] = {
    "dev": ("values-dev.yaml",),
    "production": ("values-production.yaml",),
    "gpu": ("values-production.yaml", "values-gpu.yaml"),
    "everything": ("values-production.yaml", str(EVERYTHING)),
}
# Helm itself supposes a Kubernetes that is older than what the chart asks for.
KUBERNETES: Final = "1.34.0"

Manifest = dict[str, Any]


def required(tools: Path) -> Path:
    """Return the directory of the tools. Where it is missing a developer's tests are skipped, and CI fails."""
    if not tools.is_dir():
        reason = "Helm is not there, and NOTHING of the chart is checked: run `make deploy-check`, which fetches it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return tools


class Refused(Exception):  # noqa: N818 - what Helm did with the chart
    """Helm refuses the chart, or the values. The message is Helm's."""


@dataclass(frozen=True)
class Chart:
    """A chart in ``path``, and the program that renders it."""

    helm: Path
    path: Path = CHART

    def lint(self, install: str) -> str:
        """Return what Helm says of the chart.

        Raises:
            Refused: it is not well-formed.
        """
        return self._run("lint", "--strict", *self._files(install))

    def render(self, *values: str | Path, sets: Sequence[str] = ()) -> list[Manifest]:
        """Return the objects that an install with these values files and ``--set`` arguments would make.

        Raises:
            Refused: the values are wrong, or a template is.
        """
        files = [f"--values={self.path / value}" for value in values]
        rendered = self._run("template", *files, *(f"--set={one}" for one in sets))
        return [found for found in yaml.load_all(rendered, yaml.CSafeLoader) if found]

    def install(self, name: str, *sets: str) -> list[Manifest]:
        """Return the objects of one of the ``INSTALLS``."""
        return self.render(*INSTALLS[name], sets=sets)

    def copy(self, target: Path, file: str, old: str, new: str) -> Chart:
        """Return a copy with ``old`` replaced by ``new`` in one of its files, where it must be."""
        shutil.copytree(self.path, target)
        text = (target / file).read_text()
        assert old in text, f"{file} has no {old!r}"
        (target / file).write_text(text.replace(old, new))
        return Chart(self.helm, target)

    def _files(self, install: str) -> list[str]:
        return [f"--values={self.path / value}" for value in INSTALLS[install]]

    def _run(self, command: str, *options: str) -> str:
        arguments = [command, *(["test"] if command == "template" else []), str(self.path)]
        done = subprocess.run(
            [str(self.helm), *arguments, f"--kube-version={KUBERNETES}", "--namespace=shop", *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Refused(done.stdout + done.stderr)
        return done.stdout


def of_kind(manifests: Sequence[Manifest], *kinds: str) -> list[Manifest]:
    """Return the objects of these kinds."""
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def pods(manifests: Sequence[Manifest]) -> dict[str, Manifest]:
    """Return the pod specs by ``KIND NAME`` of what makes them."""
    found = {}
    for manifest in of_kind(manifests, "Deployment", "StatefulSet", "Job", "CronJob"):
        spec = manifest["spec"]
        spec = spec["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else spec
        found[f"{manifest['kind']} {manifest['metadata']['name']}"] = spec["template"]["spec"]
    return found


def environment(pod: Manifest) -> dict[str, Any]:
    """Return the environment variables of a pod's only container: a string, or where the value comes from."""
    (container,) = pod["containers"]
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container.get("env", [])}
