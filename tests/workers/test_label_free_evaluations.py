"""``evaluate generation`` and ``evaluate pretraining`` on some of the real images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from workers.cli import app
from workers.datasets import DatasetMissing
from workers.evaluation import images
from workers.evaluation.generation import frechet_distance


@pytest.fixture(scope="module", autouse=True)
def _data() -> None:
    try:
        images.load(None, 100)
    except DatasetMissing as error:
        pytest.skip(f"NOT TESTED: evaluations on real images. {error}")


def evaluate(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["evaluate", *arguments, "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def test_samples_are_nearer_to_images_than_those_of_a_normal_distribution(tmp_path: Path) -> None:
    plot = tmp_path / "generation.png"
    told = json.loads(evaluate("generation", "--items", "2000", "--epochs", "8", "--plot", str(plot)))
    # So small a run holds out 100 images, too few for "real" to be the floor.
    assert told["latentstream"]["frechet"] < told["pca_gaussian"]["frechet"] / 2
    assert told["latentstream"]["frechet"] < told["pca_mixture"]["frechet"]
    assert told["latentstream"]["copy_ratio"] > 0.1
    assert 0 < told["active_units"] <= told["width"]
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_classifier_learns_from_few_labels_either_way() -> None:
    told = json.loads(
        evaluate("pretraining", "--items", "2000", "--epochs", "3", "--labels", "5", "--labels", "40", "--repeats", "1")
    )
    assert [row["labels_a_class"] for row in told] == [5, 40]
    for start in ("pretrained", "scratch"):
        few, more = (row[start] for row in told)
        assert 0.3 < few < more < 0.95


def test_frechet_distance_of_normal_distributions_that_commute() -> None:
    first = np.array([0.0, 0]), np.diag([4.0, 9])
    second = np.array([3.0, 4]), np.diag([1.0, 25])
    # The covariances commute, so that it is |m1 - m2|² + Σ (s1 - s2)².
    assert frechet_distance(first, second) == pytest.approx(25 + 1 + 4)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)
