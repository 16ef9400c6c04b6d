"""What is no Python must be in the package as well, or an installed latentstream lacks it."""

from __future__ import annotations

import tomllib
from importlib.metadata import entry_points
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("schemas", "models", "workers", "deploy")
# For people who have the repository, not the package.
REPOSITORY_ONLY = {
    "deploy/compose.yaml",
    "deploy/local/install.sh",
    "deploy/Dockerfile",
    "deploy/tools/strimzi.xml",
    "deploy/README.md",
    "deploy/alerts.md",
    "deploy/metrics.md",
}
CHART = "deploy/chart/"


def test_every_file_that_code_reads_is_package_data() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packed = {
        path.relative_to(ROOT).as_posix()
        for package, patterns in config["tool"]["setuptools"]["package-data"].items()
        for pattern in patterns
        for path in ROOT.joinpath(*package.split(".")).glob(pattern)
    }
    there = {
        path.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    }
    assert "deploy/local/pom.xml" in packed
    assert {path for path in there if not path.startswith(CHART)} - packed - REPOSITORY_ONLY == set()


def test_every_directory_with_code_is_a_package() -> None:
    """Setuptools leaves out what has no ``__init__.py``."""
    directories = {path.parent for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    assert [str(directory) for directory in directories if not (directory / "__init__.py").exists()] == []


def test_command_is_installed() -> None:
    (command,) = entry_points(group="console_scripts", name="latentstream")
    assert callable(command.load())
