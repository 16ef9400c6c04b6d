"""The fault matrix, each kind at least once, as ``make faults`` has it in full."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.matrix import Matrix, print_table


@pytest.mark.timeout(900)
def test_every_kind_of_fault_leaves_what_the_reference_has(tmp_path: Path) -> None:
    matrix = Matrix(tmp_path / "home", 0, tmp_path / "logs")
    try:
        matrix.run(short=True, together=10)
    finally:
        matrix.close()
    outcome = matrix.report()
    print_table(outcome)
    different = [row for row in outcome["rows"] if row["differences"]]
    assert different == []
    # Nothing was left out either: what was not injected has no differences.
    left_out = [row["fault"] for row in outcome["rows"] if not row["injected"]]
    assert left_out == ["broker silent for 60 s"]
