"""The fault matrix, each kind at least once, as ``make faults`` has it in full."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import REPOSITORY


@pytest.mark.timeout(900)
def test_every_kind_of_fault_leaves_what_the_reference_has(tmp_path: Path) -> None:
    # A process of its own, because kafka-python leaves sockets open when a broker is killed.
    report = tmp_path / "faults.json"
    command = [sys.executable, "-m", "tests.faults", "--short", "--together", "10", "--json", str(report)]
    done = subprocess.run(command, cwd=REPOSITORY, check=False)
    outcome = json.loads(report.read_text())
    different = [row for row in outcome["rows"] if row["differences"]]
    assert different == []
    # What was not injected has no differences either.
    left_out = [row["fault"] for row in outcome["rows"] if not row["injected"]]
    assert left_out == ["broker silent for 60 s"]
    assert outcome["events"] > 10_000
    assert done.returncode == 0
