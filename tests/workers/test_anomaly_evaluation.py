from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from models.arrays import Floats
from models.files import save_arrays
from tests.models.test_content_training import curved
from workers.cli.evaluate import app
from workers.datasets import DatasetMissing, fashion
from workers.evaluation import anomaly
from workers.evaluation.anomaly import BadDataSet


def torus_with_anomalies() -> anomaly.DataSet:
    """Three of 24 features of an anomaly are another item's: only how they go together with the rest tells."""
    features = curved(900)
    features[800:, :3] = np.random.default_rng(1).permutation(features[:800, :3])[:100]
    return anomaly.DataSet("torus", features, np.arange(900) >= 800)


def blobs() -> anomaly.DataSet:
    rng = np.random.default_rng(0)
    usual = rng.normal(size=(200, 3)) * [1, 100, 1e-3] + [0, 1e4, 5]
    unlike = usual[:15] + np.array([9, -900, 9e-3])
    return anomaly.DataSet("blobs", np.concatenate([usual, unlike]).astype(np.float32), np.arange(215) >= 200)


def measured(data: anomaly.DataSet, seeds: int = 1) -> anomaly.Row:
    settings = anomaly.ours(data.features.shape[1])
    return anomaly.measure(data, seeds, settings, lambda *_: lambda *_: None)


def store(directory: Path, data: anomaly.DataSet) -> None:
    save_arrays(directory / f"{data.name}.npz", {"X": data.features, "y": data.anomalous.astype(np.int8)})


def test_anomalies_whose_single_features_are_usual_are_found() -> None:
    row = measured(torus_with_anomalies())
    assert row.auroc > 95
    assert 70 < row.knn < row.auroc - 2
    assert row.false_alarms < 15


def test_other_clothes_among_trousers_are_found() -> None:
    try:
        images = fashion.load()
    except DatasetMissing as error:
        pytest.skip(f"NOT TESTED: anomalies among real images. {error}")
    trousers, others = (np.flatnonzero((images.labels == 1) == which) for which in (True, False))
    rows = np.concatenate([trousers[:800], others[:200]])
    # A quarter of the pixels, so that it takes seconds.
    features = images.images[rows, ::2, ::2].reshape(len(rows), -1).astype(np.float32)
    row = measured(anomaly.DataSet("trousers", features, np.arange(len(rows)) >= 800))
    assert row.auroc > 96
    assert row.auroc > row.knn - 1
    assert row.false_alarms < 15


def test_features_of_any_unit_count_and_shuffled_labels_say_nothing() -> None:
    assert measured(blobs()).auroc > 99
    torus = torus_with_anomalies()
    shuffled = torus._replace(anomalous=np.random.default_rng(3).permutation(torus.anomalous))
    assert measured(shuffled).auroc == pytest.approx(50, abs=8)


def test_command_prints_a_line_a_set_or_json(tmp_path: Path) -> None:
    store(tmp_path, blobs())
    arguments = ["anomaly", "--data", str(tmp_path), "--seeds", "1", "--epochs", "1"]
    lines = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["blobs", "mean"]
    printed = json.loads(CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout)
    assert printed["mean_auroc"] == printed["datasets"]["blobs"] > 95
    assert printed["knn_mean_auroc"] == printed["knn"]["blobs"] > 95
    assert printed["false_alarm_rate"] == 5
    assert f"{printed['mean_auroc']:.2f}" in lines[0]


def test_equal_scores_count_half() -> None:
    anomalous = np.array([False, False, True, True])
    for scores, expected in (([1, 2, 3, 4], 100), ([4, 3, 2, 1], 0), ([1, 1, 1, 1], 50), ([1, 2, 2, 3], 87.5)):
        assert anomaly.auroc(np.array(scores, np.float32), anomalous) == expected


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (np.zeros((30, 2)), None, "a data set has the arrays X and y"),
        (np.zeros((30, 2)), np.zeros(29), "for each of the 30 rows"),
        (np.zeros((30, 2)), np.full(30, 2), "0 .usual. or 1 .anomaly."),
        (np.zeros((30, 2)), np.zeros(30), "0 anomalies and 30 usual items are too few"),
        (np.full((30, 2), np.nan), np.arange(30) > 28, "NaN or an infinite value in row 0"),
        (np.zeros(30), np.arange(30) > 28, "must have the shape"),
        (np.array([["a", "b"]] * 30), np.arange(30) > 28, "could not convert"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(
    tmp_path: Path, features: Floats, labels: Floats | None, message: str
) -> None:
    arrays = {"X": features} if labels is None else {"X": features, "y": labels}
    save_arrays(tmp_path / "odd.npz", arrays)
    with pytest.raises(BadDataSet, match=rf"odd\.npz.*{message}"):
        anomaly.load(tmp_path)


def test_what_is_no_archive_and_an_empty_directory_are_said(tmp_path: Path) -> None:
    with pytest.raises(BadDataSet, match="has no data set"):
        anomaly.load(tmp_path)
    (tmp_path / "odd.npz").write_bytes(b"PK no archive")
    with pytest.raises(BadDataSet, match=r"odd\.npz is no data set"):
        anomaly.load(tmp_path)
