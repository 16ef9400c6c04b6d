"""The check of dependencies: what is found fails, nobody to ask passes loudly; pip-audit is real, the service ours."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from deploy.local.processes import free_ports
from tests.processes import REPOSITORY

SCRIPT = REPOSITORY / ".ci" / "audit.py"
VULNERABILITY = {
    "id": "PYSEC-2099-1",
    "summary": "made up",
    "modified": "2099-01-01T00:00:00Z",
    "published": "2099-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "numpy", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}],
        }
    ],
}


@contextmanager
def service(vulnerable: str | None) -> Iterator[str]:
    """Answer as osv.dev does; all versions of the package ``vulnerable`` have a vulnerability."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = {"vulns": [VULNERABILITY]} if query["package"]["name"] == vulnerable else {}
            body = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
        server.shutdown()


def audit(url: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--vulnerability-service", "osv", "--osv-url", url],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_a_known_vulnerability_fails() -> None:
    with service("numpy") as url:
        status, told = audit(url)
    assert status == 1
    assert "numpy" in told
    assert "PYSEC-2099-1, fixed in 99.1" in told


def test_none_passes_and_says_of_how_many() -> None:
    pins = [line for line in (REPOSITORY / ".ci" / "constraints.txt").read_text().splitlines() if "==" in line]
    with service(None) as url:
        assert audit(url) == (0, f"No known vulnerability in {len(pins)} dependencies\n")


def test_nobody_to_ask_passes_loudly() -> None:
    (port,) = free_ports([None])
    status, told = audit(f"http://127.0.0.1:{port}/v1/query")
    assert status == 0
    assert told.startswith("NOT AUDITED: ")
    assert len(told.splitlines()) == 1


@pytest.fixture(scope="module")
def verdict() -> Any:
    return runpy.run_path(str(SCRIPT))["verdict"]


def test_a_service_that_knows_none_of_the_packages_has_audited_nothing(verdict: Any) -> None:
    skipped = {"name": "numpy", "skip_reason": "not found on PyPI"}
    status, told = verdict(0, json.dumps({"dependencies": [skipped]}), "")
    assert status == 0
    assert told.startswith("NOT AUDITED: ")
    assert "numpy: not found on PyPI" in told
    # Some of them: what was checked is said, and what was not.
    known = {"name": "scipy", "version": "1", "vulns": []}
    status, told = verdict(0, json.dumps({"dependencies": [skipped, known]}), "")
    assert (status, "in 1 dependencies; NOT AUDITED: numpy" in told) == (0, True)


def test_what_is_skipped_does_not_hide_what_is_found(verdict: Any) -> None:
    found = {"name": "scipy", "version": "1", "vulns": [{"id": "X-1", "fix_versions": []}]}
    status, told = verdict(1, json.dumps({"dependencies": [{"name": "a", "skip_reason": "b"}, found]}), "")
    assert status == 1
    assert "scipy 1: X-1, fixed in no version" in told


@pytest.mark.parametrize("error", ["No module named pip_audit", "invalid requirement", ""])
def test_any_other_failure_is_one(verdict: Any, error: str) -> None:
    assert verdict(1, "", error)[0] == 1
