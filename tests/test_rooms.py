"""Who may import whom (DESIGN.md, "Three rooms"): held to by reading the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("schemas", "models", "workers", "deploy")
SERVERS = {"kafka", "redis"}
CLOCKS = {"time", "datetime"}
FORBIDDEN = {
    "schemas": {"models", "workers", "deploy", "tests"} | SERVERS,
    "models": {"workers", "deploy", "tests"} | SERVERS | CLOCKS,
    "deploy": {"models", "workers", "tests"},
    "workers": {"tests"},
}


def imported(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and full name of everything that is imported, in functions as well."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports here are absolute"
            yield node.lineno, node.module or ""
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            # A name made at run time could be anything.
            assert isinstance(node.args[0], ast.Constant), f"line {node.lineno}: import_module without a plain name"
            yield node.lineno, str(node.args[0].value)


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_nothing_that_it_may_not(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in files
        for line, name in imported(path.read_text())
        if name.partition(".")[0] in FORBIDDEN[room]
    ]
    assert wrong == []


def test_imports_are_found_wherever_they_stand() -> None:
    source = "import a.b\ndef f():\n    from c.d import e\n    importlib.import_module('f')\n"
    assert list(imported(source)) == [(1, "a.b"), (3, "c.d"), (4, "f")]
