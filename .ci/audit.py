"""Check the pinned dependencies against known vulnerabilities: ``audit.py [ARGUMENTS OF PIP-AUDIT…]``.

Fails where one is found. Where the service cannot be asked it says so, and does not fail: a machine without a way
out must be able to run the checks.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

CONSTRAINTS = Path(__file__).parent / "constraints.txt"
NOT_AUDITED = "NOT AUDITED: no dependency was checked against known vulnerabilities"
# What requests, urllib3 and pip-audit say where nobody answers, or not in time.
UNREACHABLE = re.compile(r"ConnectionError|ConnectTimeout|ReadTimeout|Max retries exceeded|ServiceError|HTTPError")


class Verdict(NamedTuple):
    """The exit status, and what to tell a person."""

    status: int
    told: str


def verdict(status: int, out: str, err: str) -> Verdict:
    """Return what follows from the exit status of ``pip-audit --format json`` and what it wrote."""
    last = (err.strip().splitlines() or [f"exit status {status}"])[-1]
    try:
        dependencies: list[dict[str, Any]] = json.loads(out)["dependencies"]
    except (ValueError, KeyError, TypeError):
        if UNREACHABLE.search(err):
            return Verdict(0, f"{NOT_AUDITED}: the service cannot be reached ({last[:200]})")
        return Verdict(1, f"pip-audit failed: {last}")
    found = [
        f"{each['name']} {each['version']}: {vulnerability['id']}, fixed in "
        f"{', '.join(vulnerability['fix_versions']) or 'no version'}"
        for each in dependencies
        for vulnerability in each.get("vulns", [])
    ]
    if found:
        return Verdict(1, "\n".join(["Known vulnerabilities in .ci/constraints.txt:", *found]))
    skipped = [f"{each['name']}: {each['skip_reason']}" for each in dependencies if "skip_reason" in each]
    checked = len(dependencies) - len(skipped)
    if not checked:
        # An index may answer that it has never heard of anything.
        return Verdict(0, f"{NOT_AUDITED}: {skipped[0] if skipped else 'there are none'}")
    told = f"No known vulnerability in {checked} dependencies"
    return Verdict(0, f"{told}; NOT AUDITED: {'; '.join(skipped)}" if skipped else told)


def main() -> None:
    """Run pip-audit, tell what came of it and exit."""
    # Without resolving anything: every dependency is in the file.
    options = ["--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip", "--progress-spinner", "off"]
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--format", "json", *options, *sys.argv[1:]],
        capture_output=True,
        text=True,
        check=False,
    )
    found = verdict(done.returncode, done.stdout, done.stderr)
    sys.stderr.write(f"{found.told}\n")
    sys.exit(found.status)


if __name__ == "__main__":
    main()
