"""``evaluate anomaly``: how well anomalies are told from usual items that the model has not seen either.

The protocol of ADBench (Han et al. 2022, semi-supervised): a random half of the usual items trains; the other half
and all anomalies test. What is measured is what the encoder worker stores: the score of a trained content model.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Self

import faiss
import msgspec
import numpy as np
from scipy.stats import rankdata

from models.arrays import Doubles, Floats, Ints, Mask, float_matrix
from models.content import ContentModel
from models.content_training import train_content
from models.fitting import ReportEpoch
from models.runtime import keras
from models.splits import Split
from schemas.model_settings import ContentSettings
from workers.errors import Repairable

_VALIDATION_SHARE: Final = 0.2
_WIDEST_LATENT: Final = 128
_NEIGHBOUR: Final = 5
_FEWEST_USUAL: Final = 20


class BadDataSet(Repairable):
    """A file is no data set of usual items and anomalies, or there is none."""


class DataSet(NamedTuple):
    """Items and which of them are anomalies."""

    name: str
    features: Floats  # [n, features]
    anomalous: Mask  # [n]


class Row(msgspec.Struct, frozen=True):
    """One data set: means over the seeds, in percent."""

    dataset: str
    auroc: float
    knn: float
    false_alarms: float


class Summary(msgspec.Struct, frozen=True):
    """All data sets: means over sets and seeds, in percent, and each set's by its name."""

    mean_auroc: float
    knn_mean_auroc: float
    false_alarm_rate: float  # asked for
    mean_false_alarms: float  # seen among usual test items
    datasets: dict[str, float]
    knn: dict[str, float]
    false_alarms: dict[str, float]

    @classmethod
    def of(cls, rows: Sequence[Row], false_alarm_rate: float) -> Self:
        """Return the summary of one or more rows."""
        columns = [{row.dataset: getattr(row, name) for row in rows} for name in ("auroc", "knn", "false_alarms")]
        auroc, knn, alarms = (float(np.mean(list(column.values()))) for column in columns)
        return cls(auroc, knn, 100 * false_alarm_rate, alarms, *columns)


def load(directory: Path) -> list[DataSet]:
    """Return the data sets of a directory, in the order of their names: a file ``NAME.npz`` each.

    In each are ``X`` (numbers, ``[n, features]``) and ``y`` (``[n]``, 1 for an anomaly, else 0).

    Raises:
        BadDataSet: there is no such file, or one is not like that.
    """
    found = [_read(path) for path in sorted(directory.glob("*.npz"))]
    if not found:
        raise BadDataSet(f"{directory} has no data set: put files NAME.npz with the arrays X and y there")
    return found


def ours(features: int) -> ContentSettings:
    """Return the settings that find anomalies best; but for the width of the latent the same for all data."""
    return ContentSettings(
        kind="denoising",
        network="residual",
        latent_dim=min(features, _WIDEST_LATENT),
        hidden=[128, 128],
        tails="logarithmic",
        corruption="gaussian",
        corruption_amount=0.2,
        weight_decay=1e-3,
        epochs=40,
        codec="float32",
        false_alarm_rate=0.05,
    )


def measure(data: DataSet, seeds: int, settings: ContentSettings, report: Callable[[int, str], ReportEpoch]) -> Row:
    """Return the means over ``seeds`` halves of the usual items.

    ``report`` gives, for a seed and a stage of its training, what is told of the epochs.
    """
    found = []
    for seed in range(seeds):
        training, test = _halves(data.anomalous, seed)
        model = _train(data.features[training], settings, seed, partial(report, seed))
        scores, anomalous = model.encode(data.features[test]).scores, data.anomalous[test]
        distances = _distances(data.features[training], data.features[test])
        false_alarms = float(100 * np.mean(scores[~anomalous] > 1))
        found.append((auroc(scores, anomalous), auroc(distances, anomalous), false_alarms))
        # Else the layers of all models stay in memory.
        keras.backend.clear_session()
    return Row(data.name, *np.mean(found, axis=0).tolist())


def auroc(scores: Floats, anomalous: Mask) -> float:
    """Return in percent how often an anomaly has a larger score than a usual item; equal ones count half."""
    ranks: Doubles = rankdata(scores)
    anomalies, usual = int(np.sum(anomalous)), int(np.sum(~anomalous))
    return float(100 * (np.sum(ranks[anomalous]) - anomalies * (anomalies + 1) / 2) / (anomalies * usual))


def _read(path: Path) -> DataSet:
    try:
        with np.load(path, allow_pickle=False) as stored:
            features = float_matrix(stored["X"], stored["X"].shape[-1], "X")
            labels = stored["y"]
    except KeyError as error:
        raise BadDataSet(f"{path}: {error.args[0]}; a data set has the arrays X and y") from error
    except (OSError, EOFError, ValueError, IndexError, zipfile.BadZipFile) as error:
        raise BadDataSet(f"{path} is no data set: {error}") from error
    if labels.shape != (len(features),) or not np.isin(labels, (0, 1)).all():
        raise BadDataSet(f"{path}: y must have a 0 (usual) or 1 (anomaly) for each of the {len(features)} rows of X")
    anomalous: Mask = labels == 1
    if not anomalous.any() or np.sum(~anomalous) < _FEWEST_USUAL:
        raise BadDataSet(
            f"{path}: {np.sum(anomalous)} anomalies and {np.sum(~anomalous)} usual items are too few:"
            f" 1 and {_FEWEST_USUAL} are the least"
        )
    return DataSet(path.stem, features, anomalous)


def _halves(anomalous: Mask, seed: int) -> tuple[Ints, Ints]:
    """Return the rows that train, a half of the usual ones, and all others."""
    usual = np.random.default_rng(seed).permutation(np.flatnonzero(~anomalous))
    half = len(usual) // 2
    return usual[:half], np.concatenate([usual[half:], np.flatnonzero(anomalous)])


def _train(
    features: Floats, settings: ContentSettings, seed: int, report: Callable[[str], ReportEpoch]
) -> ContentModel:
    order = np.random.default_rng([seed, 1]).permutation(len(features))
    held = max(1, int(len(features) * _VALIDATION_SHARE))
    # The test items are not shown to the training at all; what it calls its test are items of validation.
    split = Split(np.sort(order[held:]), np.sort(order[:held]), np.sort(order[:held]))
    return train_content(features, split, features.shape[1:], settings, seed=seed, report=report).model


def _distances(training: Floats, test: Floats) -> Floats:
    """Return the distance of each test item to its fifth nearest training item, in standardised features."""
    mean, deviation = training.mean(axis=0, dtype=np.float64), training.std(axis=0, dtype=np.float64)
    deviation[deviation < 1e-8] = 1.0
    index = faiss.IndexFlatL2(training.shape[1])
    index.add(((training - mean) / deviation).astype(np.float32))
    found: Floats = index.search(((test - mean) / deviation).astype(np.float32), _NEIGHBOUR)[0][:, -1]
    return found
