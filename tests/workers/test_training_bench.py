"""``latentstream bench training``: a step needs no memory for each user with each item."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from workers.cli import app


def test_memory_does_not_grow_with_catalogue_times_batch() -> None:
    arguments = ["bench", "training", "--dim", "4", "--items", "400000", "--batches", "64,512", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["kind"], found["dim"]) == ("contrastive", 4)
    small, large = found["steps"]
    assert (large["items"], large["batch"], large["product_mb"]) == (400_000, 512, 781.2)
    assert small["memory_mb"] > 0
    assert large["memory_mb"] - small["memory_mb"] < large["product_mb"] / 2
    assert all(step["seconds"] > 0 for step in found["steps"])


def test_sizes_are_numbers() -> None:
    result = CliRunner().invoke(app, ["bench", "training", "--items", "10,x"])
    assert result.exit_code == 2
    assert "positive whole numbers" in result.output
