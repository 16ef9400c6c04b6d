"""``python -m tests.faults``: the fault matrix against real Kafka and Redis; see ``make faults``."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from tests.faults.matrix import Matrix, print_table


def main(
    short: Annotated[bool, typer.Option("--short", help="Each kind once or a few times, as CI does.")] = False,
    together: Annotated[int, typer.Option(help="How many of all kinds in random order at the end.")] = 100,
    only: Annotated[str, typer.Option(help="Only kinds with this in their name.")] = "",
    seed: Annotated[int, typer.Option(help="Another seed, another stream and other moments.")] = 0,
    report: Annotated[Path, typer.Option("--json", help="Where to write the outcome.")] = Path("faults.json"),
) -> None:
    """Break a running system in every way that is known, and compare what is left with what must be."""
    with tempfile.TemporaryDirectory(prefix="latentstream-faults-") as home:
        matrix = Matrix(Path(home), seed, report.with_suffix(".logs"))
        try:
            matrix.run(short=short, together=together, only=only)
        finally:
            matrix.close()
    outcome = matrix.report()
    report.write_text(json.dumps(outcome, indent=1) + "\n")
    print_table(outcome)
    if outcome["differences"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
