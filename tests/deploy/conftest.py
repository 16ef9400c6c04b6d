from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.tools.fetch import directory
from tests.deploy.chart import INSTALLS, Chart, Manifest
from tests.deploy.definitions import Definitions


@pytest.fixture(scope="session")
def tools() -> Path:
    """The directory of the tools. Only CI must have them: it says so, instead of passing over what it should check."""
    found = directory()
    if not found.is_dir():
        reason = (
            "Helm and the definitions are not there, so that NOTHING of the chart is checked: run `make deploy-check`"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def chart(tools: Path) -> Chart:
    return Chart(tools / "bin" / "helm")


@pytest.fixture(scope="session")
def rendered(chart: Chart) -> dict[str, list[Manifest]]:
    """What each install makes. Tests that change it take a copy."""
    return {name: chart.install(name) for name in INSTALLS}


@pytest.fixture(scope="session")
def definitions(tools: Path) -> Definitions:
    return Definitions(tools / "definitions")
