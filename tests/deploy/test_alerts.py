"""The alert rules by themselves: sound, tested by promtool, explained. A running system is in `tests/e2e`."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.processes import REPOSITORY
from tests.prometheus import ALERTS, alert_names, program
from workers.cli.config import settings_in_force

RULES = ALERTS.read_text()
CASES = Path(__file__).with_name("alerts_test.yaml")
EXPLAINED = REPOSITORY / "deploy" / "alerts.md"


def promtool(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    command = [program("promtool"), *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60, check=False)


def run_cases(directory: Path, rules: str) -> subprocess.CompletedProcess[str]:
    (directory / "alerts.yaml").write_text(rules)
    (directory / CASES.name).write_text(CASES.read_text())
    return promtool("test", "rules", CASES.name, directory=directory)


def test_the_rules_are_sound(tmp_path: Path) -> None:
    checked = promtool("check", "rules", str(ALERTS), directory=tmp_path)
    assert checked.returncode == 0, checked.stderr
    (tmp_path / "broken.yaml").write_text(RULES.replace("expr: latentstream_ready == 0", "expr: latentstream_ready ="))
    assert promtool("check", "rules", "broken.yaml", directory=tmp_path).returncode != 0


def test_each_alert_fires_on_its_series_and_none_on_healthy_ones(tmp_path: Path) -> None:
    done = run_cases(tmp_path, RULES)
    assert done.returncode == 0, done.stdout + done.stderr
    fire = set(re.findall(r"alertname: (\w+)\n +eval_time: \w+\n +exp_alerts:\n", CASES.read_text()))
    assert fire == alert_names(RULES)


@pytest.mark.parametrize(
    ("alert", "found", "put"),
    [
        ("LatentstreamDeadLetters", "latentstream_dead_letters_total[", 'latentstream_dead_letters_total{topic="x"}['),
        ("LatentstreamWorkerDown", "by (namespace, role) (present", "by (role) (present"),
        ("LatentstreamStaleIndex", "> 60", "> 0.1"),
    ],
)
def test_a_broken_rule_is_noticed(tmp_path: Path, alert: str, found: str, put: str) -> None:
    """A wrong label, installations that are mixed up, and an alert that is never silent."""
    assert RULES.count(found) == 1
    done = run_cases(tmp_path, RULES.replace(found, put))
    assert done.returncode != 0
    assert alert in done.stdout + done.stderr


def test_each_alert_says_what_it_is_and_is_explained() -> None:
    parts = re.split(r"^ *- alert: ", RULES, flags=re.MULTILINE)[1:]
    headings = re.findall(r"^### (\w+)$", EXPLAINED.read_text(), re.MULTILINE)
    assert headings == [part.split()[0] for part in parts], "explained in the order of the rules"
    for part in parts:
        name = part.split()[0]
        assert re.search(r"^ +for: \d+[smh]$", part, re.MULTILINE), name
        assert re.search(r"^ +labels: \{severity: (warning|critical)\}$", part, re.MULTILINE), name
        assert {"summary", "description"} <= set(re.findall(r"^          (\w+):", part, re.MULTILINE)), name
        assert f"runbook_url: deploy/alerts.md#{name.lower()}\n" in part, name


def test_the_explanations_name_settings_and_links_that_exist() -> None:
    text = EXPLAINED.read_text()
    readme = (REPOSITORY / "README.md").read_text()
    known = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", readme, re.MULTILINE)}
    assert set(re.findall(r"\(\.\./README\.md#([^)]+)\)", text)) <= known
    own = {heading.lower() for heading in re.findall(r"^### (\w+)$", text, re.MULTILINE)}
    assert set(re.findall(r"\(#([^)]+)\)", text)) <= own
    assert set(re.findall(r"LATENTSTREAM_\w+", text)) <= {setting.name for setting in settings_in_force()}
