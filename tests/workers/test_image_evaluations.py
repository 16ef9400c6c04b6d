"""``evaluate denoising`` and ``evaluate reduction`` on some of the real images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from models.fitting import ReportEpoch
from schemas.model_settings import ContentSettings
from workers.cli import app
from workers.datasets import DatasetMissing
from workers.evaluation import denoising, images, reduction

SMALL = {"hidden": [128], "latent_dim": 32, "epochs": 25}


@pytest.fixture(scope="module")
def some() -> images.Images:
    """2,000 images to train on and few to test, so that the slow filters take seconds."""
    try:
        loaded = images.load(None, 2000)
    except DatasetMissing as error:
        pytest.skip(str(error))
    return loaded._replace(held=first(loaded.held, 60), test=first(loaded.test, 120))


def first(part: images.Part, count: int) -> images.Part:
    return images.Part(part.pixels[:count], part.labels[:count])


def silent(_: str) -> ReportEpoch:
    return lambda *_: None


@pytest.mark.parametrize("corruption", ["gaussian", "salt-and-pepper"])
def test_noise_is_taken_out_of_the_same_images_by_every_method(
    some: images.Images, corruption: denoising.Corruption
) -> None:
    settings = denoising.ours(corruption, 0.2, some).model_copy(update=SMALL)
    result = denoising.measure(some, corruption, 0.2, settings, silent).result
    assert result.latentstream.psnr > result.noisy.psnr + 2
    assert result.latentstream.ssim > result.noisy.ssim + 0.02
    best = result.filters[result.best_filter]
    assert best.psnr > result.noisy.psnr + 2
    assert len(result.filters) == 7


def test_a_few_numbers_keep_more_of_an_image_than_principal_components(some: images.Images) -> None:
    def settings(width: int) -> ContentSettings:
        return reduction.ours(width).model_copy(update=SMALL | {"latent_dim": width})

    rows = [reduced.row for reduced in reduction.measure(some, [2, 5], settings, silent)]
    assert [(row.method, row.baseline, row.width) for row in rows] == [
        ("PCA", True, 2),
        ("latentstream", False, 2),
        ("PCA", True, 5),
        ("latentstream", False, 5),
    ]
    for pca, ours in (rows[:2], rows[2:]):
        assert ours.mse < 0.95 * pca.mse
        assert 0.3 < pca.neighbour_accuracy < 0.9
        assert 0.3 < ours.neighbour_accuracy < 0.9


@pytest.mark.usefixtures("some")
@pytest.mark.parametrize(
    ("command", "told"),
    [(["denoising"], {"noisy", "filters", "latentstream"}), (["reduction", "--width", "2"], {"mse"})],
)
def test_the_command_prints_json_and_writes_a_picture(command: list[str], told: set[str], tmp_path: Path) -> None:
    plot = tmp_path / "plot.png"
    options = ["--items", "100", "--epochs", "1", "--plot", str(plot), "--json"]
    result = CliRunner().invoke(app, ["evaluate", *command, *options])
    assert result.exit_code == 0, (result.output, result.exception)
    document = json.loads(result.stdout)
    for row in document if isinstance(document, list) else [document]:
        assert told <= row.keys()
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_test_images_are_not_among_those_that_train_and_tune(some: images.Images) -> None:
    assert [len(part.pixels) for part in (some.training, some.held, some.test)] == [1900, 60, 120]
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
