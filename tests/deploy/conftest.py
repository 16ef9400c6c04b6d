from __future__ import annotations

from pathlib import Path

import pytest

from deploy.tools.fetch import directory
from tests.deploy.chart import INSTALLS, Chart, Manifest, required
from tests.deploy.definitions import Definitions


@pytest.fixture(scope="session")
def tools() -> Path:
    return required(directory())


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
