"""A real Prometheus, and its promtool."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.local.processes import free_ports
from tests.processes import REPOSITORY

ALERTS: Final = REPOSITORY / "deploy" / "chart" / "latentstream" / "files" / "alerts.yaml"
DASHBOARD: Final = ALERTS.with_name("dashboard.json")
_CONFIG: Final = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: workers
    file_sd_configs: [{{files: [{targets}], refresh_interval: 1s}}]
"""
_STARTS_WITHIN_S: Final = 30.0


def program(name: str) -> str:
    """Return the path of ``prometheus`` or ``promtool``; where it is missing the test is skipped, in CI it fails."""
    places = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
    found = shutil.which(name, path=places)
    if found is None:
        said = f"{name} is missing: `deploy/local/install.sh prometheus` installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(said)
        pytest.skip(said)
    return found


def alert_names(rules: str) -> set[str]:
    """Return the names of all alerts in a rule file."""
    return set(re.findall(r"^ *- alert: (\w+)$", rules, re.MULTILINE))


class Prometheus:
    """A running server; what it scrapes is told to it with :meth:`scrape`."""

    def __init__(self, directory: Path, rules: str) -> None:
        self._targets = directory / "targets.json"
        self.scrape([])
        (directory / "rules.yaml").write_text(rules)
        config = _CONFIG.format(rules=directory / "rules.yaml", targets=self._targets)
        (directory / "prometheus.yaml").write_text(config)
        (self._port,) = free_ports([None])
        self._log = directory / "prometheus.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    program("prometheus"),
                    f"--config.file={directory / 'prometheus.yaml'}",
                    f"--storage.tsdb.path={directory / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_ready(self) -> None:
        """Return when it answers."""
        end = time.monotonic() + _STARTS_WITHIN_S
        while not self._ready():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < end, self._log.read_text()
            time.sleep(0.05)

    def scrape(self, ports: list[int]) -> None:
        """Let it scrape the workers that listen on ``ports`` from now on."""
        groups = [{"targets": [f"127.0.0.1:{port}" for port in ports], "labels": {"namespace": "test"}}]
        written = self._targets.with_suffix(".new")
        written.write_text(json.dumps(groups))
        written.replace(self._targets)

    def query(self, expression: str) -> list[float]:
        """Return the value of each series of ``expression`` now."""
        found = self._get("query", query=expression)["result"]
        return [float(one["value"][1]) for one in found]

    def names(self) -> set[str]:
        """Return the names of all metrics that it has ever scraped."""
        return set(self._get("label/__name__/values"))

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire now."""
        return {one["labels"]["alertname"] for one in self._get("alerts")["alerts"] if one["state"] == "firing"}

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=5) as reply:
                return bool(reply.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            pass
        return False

    def _get(self, path: str, **parameters: str) -> Any:
        asked = f"{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/{asked}", timeout=10) as reply:
            return json.loads(reply.read())["data"]


@contextmanager
def prometheus(directory: Path, rules: str) -> Iterator[Prometheus]:
    """Run a Prometheus that evaluates ``rules`` each second."""
    directory.mkdir()
    server = Prometheus(directory, rules)
    try:
        server.wait_ready()
        yield server
    finally:
        server.close()
