"""The command line, run in this process under the settings of a test."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from schemas.settings import ENV_PREFIX, Settings
from tests.processes import environment
from workers.cli import app

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Run ``latentstream ARGUMENTS…`` under the environment as it is."""

    def run(*arguments: str, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(app, arguments, input=stdin)

    return run


@pytest.fixture
def run_real(run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run it against the real Kafka and Redis of ``settings``."""
    for name, value in environment(settings).items():
        if name.startswith(ENV_PREFIX):
            monkeypatch.setenv(name, value)
    # Nobody answers in some of these tests.
    monkeypatch.setenv("LATENTSTREAM_RECOMMEND__QUERY_TIMEOUT_S", "0.5")
    return run
