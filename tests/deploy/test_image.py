"""The Dockerfile, as far as it can be checked without building it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from deploy.requirements import WITHOUT_GPU, requirements
from tests.deploy.chart import Manifest, pods
from tests.processes import REPOSITORY

DOCKERFILE: Final = REPOSITORY / "deploy" / "Dockerfile"
# Beside this Python, as pip puts it there.
_HADOLINT: Final = Path(sys.executable).with_name("hadolint")


def _lint(dockerfile: Path) -> subprocess.CompletedProcess[str]:
    command = [str(_HADOLINT), "--no-color", "--failure-threshold", "style", str(dockerfile)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def test_hadolint_finds_nothing_to_say() -> None:
    done = _lint(DOCKERFILE)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("ARG PYTHON=python:3.11.14-slim-bookworm", "ARG PYTHON=python:latest", ""),
        ("FROM base AS cpu", "FROM python:latest AS cpu", "DL3007"),
        ("USER 10001:10001", "USER root", "DL3002"),
        ("# hadolint ignore=DL3013\n", "", "DL3013"),
        ("WORKDIR /src", "WORKDIR src", "DL3000"),
        ("COPY . .", "ADD . .", "DL3020"),
    ],
)
def test_a_broken_copy_is_noticed(tmp_path: Path, old: str, new: str, rule: str) -> None:
    text = DOCKERFILE.read_text()
    assert old in text
    (tmp_path / "Dockerfile").write_text(text.replace(old, new))
    if rule:
        done = _lint(tmp_path / "Dockerfile")
        assert done.returncode
        assert rule in done.stdout
    else:
        assert _problems((tmp_path / "Dockerfile").read_text())


def _problems(text: str) -> list[str]:
    """Return what hadolint does not look at."""
    stages = re.findall(r"^FROM (\S+) AS (\S+)", text, re.MULTILINE)
    final = text[text.index("FROM ${PYTHON} AS base") :]
    wanted = {
        "both targets are there": {"cpu", "gpu"} <= {name for _, name in stages},
        "the base is a version": bool(re.search(r"^ARG PYTHON=python:\d+\.\d+\.\d+-slim", text, re.MULTILINE)),
        "the versions are those that CI tests": "PIP_CONSTRAINT=/src/.ci/constraints.txt" in text,
        "nothing is compiled": len(re.findall(r"install (?!--no-deps|--only-binary)", text)) == 0,
        "no compiler": not re.search(r"apt-get|build-essential|gcc", text),
        "a number for a user": "USER 10001:10001" in final,
        "health": "HEALTHCHECK" in final and "/live" in final,
        "labels": "org.opencontainers.image.version" in final,
        "the command": 'ENTRYPOINT ["latentstream"]' in final,
    }
    return [what for what, holds in wanted.items() if not holds]


def test_the_image_is_as_the_chart_runs_it(rendered: dict[str, list[Manifest]]) -> None:
    text = DOCKERFILE.read_text()
    assert _problems(text) == []
    for name, pod in pods(rendered["production"]).items():
        user, home = pod["securityContext"]["runAsUser"], "/var/lib/latentstream"
        assert f"--uid {user} " in text, name
        assert f"LATENTSTREAM_HOME={home} " in text
        assert {home, "/tmp"} <= {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}  # noqa: S108


@pytest.mark.parametrize("broken", ["USER 10001:10001", "HEALTHCHECK", "AS gpu", "--only-binary :all: --req"])
def test_what_hadolint_does_not_see_is_noticed(broken: str) -> None:
    text = DOCKERFILE.read_text()
    assert broken in text
    assert _problems(text.replace(broken, ""))


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_every_version_in_the_image_is_pinned(target: str) -> None:
    """What the image installs by name; what those depend on is pinned with them, by `make lock`."""
    pinned = dict(
        line.split("==")
        for line in (REPOSITORY / ".ci" / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    )
    wanted = requirements(REPOSITORY / "pyproject.toml", target, ["s3", "gcs", "otel"])
    names = [re.split(r"[^\w.-]", one)[0] for one in [*wanted, "setuptools"]]
    known = {name.lower().replace("_", "-") for name in pinned}
    assert [name for name in names if name.lower().replace("_", "-") not in known] == []
    assert ("faiss-cpu" in names, "faiss-gpu" in names) == (target == "cpu", target == "gpu")
    # The image without GPUs runs what the tests have run, less what GPUs need.
    assert all(pinned[other] == pinned[name] for name, other in WITHOUT_GPU.items())


def test_only_what_the_image_is_made_of_is_sent_to_the_builder() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    copied = {"schemas", "models", "workers", "deploy", "pyproject.toml", "README.md", "LICENSE", ".ci/constraints.txt"}
    assert {line[1:] for line in lines if line.startswith("!")} == copied
