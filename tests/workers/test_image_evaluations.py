"""``evaluate denoising`` and ``evaluate reduction`` on some of the real images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from workers.cli import app
from workers.datasets import DatasetMissing
from workers.evaluation import denoising, images


@pytest.fixture(scope="module")
def some() -> images.Images:
    try:
        return images.load(None, 500)
    except DatasetMissing as error:
        pytest.skip(str(error))


def evaluate(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["evaluate", *arguments, "--items", "500", "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


@pytest.mark.usefixtures("some")
@pytest.mark.parametrize("corruption", ["gaussian", "salt-and-pepper"])
def test_noise_is_taken_out_of_the_same_images_by_every_method(corruption: str, tmp_path: Path) -> None:
    plot = tmp_path / "denoising.png"
    told = json.loads(evaluate("denoising", "--corruption", corruption, "--epochs", "6", "--plot", str(plot)))
    noisy, ours, filters = told["noisy"], told["latentstream"], told["filters"]
    assert ours["psnr"] > noisy["psnr"] + 2
    assert ours["ssim"] > noisy["ssim"]
    assert max(each["psnr"] for each in filters.values()) > noisy["psnr"] + 2
    assert len(filters) == 7
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("some")
def test_a_few_numbers_keep_more_of_an_image_than_principal_components(tmp_path: Path) -> None:
    plot = tmp_path / "reduction.png"
    told = json.loads(evaluate("reduction", "--width", "2", "--width", "5", "--epochs", "6", "--plot", str(plot)))
    assert [(row["method"], row["baseline"], row["width"]) for row in told] == [
        ("PCA", True, 2),
        ("latentstream", False, 2),
        ("PCA", True, 5),
        ("latentstream", False, 5),
    ]
    for pca, ours in (told[:2], told[2:]):
        assert ours["mse"] < 0.95 * pca["mse"]
        assert 0.3 < pca["neighbour_accuracy"] < 0.9
        assert 0.3 < ours["neighbour_accuracy"] < 0.9
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_test_images_are_not_among_those_that_train_and_tune(some: images.Images) -> None:
    assert [len(part.pixels) for part in (some.training, some.held, some.test)] == [475, 25, 500]
    seen = {row.tobytes() for row in some.training.pixels}
    assert not seen & {row.tobytes() for row in some.held.pixels}
    assert not seen & {row.tobytes() for row in some.test.pixels}


def test_noise_is_what_was_asked_for_and_the_same_each_time() -> None:
    grey = np.full((50, 28, 28), 0.5, np.float32)
    by_name = {name: denoising.corrupted(grey, name, 0.3, seed=3) for name in denoising.AMOUNTS}
    for name, rows in by_name.items():
        assert denoising.corrupted(grey, name, 0.3, seed=3).tobytes() == rows.tobytes()
        assert rows.dtype == np.float32
    assert np.std(by_name["gaussian"]) == pytest.approx(0.3, rel=0.02)
    assert np.mean(by_name["masking"] == 0) == pytest.approx(0.3, rel=0.02)
    for value in (0, 1):
        assert np.mean(by_name["salt-and-pepper"] == value) == pytest.approx(0.15, rel=0.03)
