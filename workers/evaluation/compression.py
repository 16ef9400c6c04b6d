"""``evaluate compression``: error against bytes, for our codes and for what people use today."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import faiss
import msgspec
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from models.arrays import Floats
from models.compression_baselines import Compressor, baselines
from models.content import ContentModel
from models.content_training import train_content
from models.fitting import ReportEpoch
from models.splits import Split
from schemas.model_settings import ContentSettings
from workers.datasets import fashion
from workers.datasets.glove import load as load_glove

_VALIDATION_SHARE: Final = 0.05
# Of training; it takes less than 20 minutes on two cores.
_ROWS: Final = 1_700_000
_TUNING_ROWS: Final = 250_000
_NEIGHBOURS: Final = 10
_QUERIES: Final = 1000


class Rows(NamedTuple):
    """Items of a data set: float32 ``[n, features]``, the first ``train`` of them for training."""

    name: str
    features: Floats
    input_shape: tuple[int, ...]
    train: int
    neighbours: bool  # whether it matters which items are near


def fashion_mnist(directory: Path | None) -> Rows:
    """Return the images, their own test set for testing."""
    loaded = fashion.load(directory)
    features = loaded.images.reshape(len(loaded), -1).astype(np.float32) / np.float32(255)
    return Rows("Fashion-MNIST", features, loaded.images.shape[1:], loaded.train, neighbours=False)


def glove(directory: Path | None) -> Rows:
    """Return the vectors in random order, a tenth of them for testing."""
    vectors = load_glove(directory)
    vectors = vectors[np.random.default_rng(0).permutation(len(vectors))]
    return Rows("GloVe", vectors, vectors.shape[1:], len(vectors) - len(vectors) // 10, neighbours=True)


class Row(msgspec.Struct, frozen=True):
    """One method at one size, on the test items."""

    method: str
    baseline: bool
    bytes_per_item: int
    mse: float
    train_seconds: float
    encode_items_per_s: float
    decode_items_per_s: float
    recall_at_10: float | None


def ours(code_bytes: int, items: int, features: int) -> ContentSettings:
    """Return the settings that give the best codes of this size; the same for all data."""
    return ContentSettings(
        network="residual",
        latent_dim=min(features, 8 * code_bytes),
        hidden=[1024, 1024],
        epochs=0,
        codec="residual",
        code_bytes=code_bytes,
        # The search takes time in proportion to both.
        candidates=max(1, min(32, 256 // code_bytes)),
        codec_epochs=max(1, _ROWS // items),
        tuning_epochs=max(1, _TUNING_ROWS // items),
        shift_share=0.5,
        weight_decay=0.05,
    )


def measure(
    rows: Rows, sizes: Sequence[int], settings: Callable[[int], ContentSettings], report: Callable[[str], ReportEpoch]
) -> Iterator[Row]:
    """Yield the methods of each size, the baselines first."""
    training, test = rows.features[: rows.train], rows.features[rows.train :]
    low, high = training.min(axis=0), training.max(axis=0)
    for size in sizes:
        for name, fit in baselines(size, training.shape[1]).items():
            started = time.perf_counter()
            method = fit(training)
            seconds = time.perf_counter() - started
            # Ours keep to the range seen in training; so may the others.
            yield _measured(name, True, _Clipped(method, low, high), test, seconds, rows.neighbours)
        started = time.perf_counter()
        model = _train(rows, settings(size), report)
        yield _measured("latentstream", False, _Ours(model), test, time.perf_counter() - started, rows.neighbours)


def draw(found: Sequence[Row], name: str, path: Path) -> None:
    """Write the rate-distortion plot."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for method, family in itertools.groupby(sorted(found, key=_family), _family):
        rows = list(family)
        # Of those with different numbers of components, the best at each size.
        least = {row.bytes_per_item: row.mse for row in sorted(rows, key=lambda row: -row.mse)}
        sizes = sorted(least)
        axes.plot(sizes, [least[size] for size in sizes], "o-", label=method, linewidth=1 if rows[0].baseline else 3)
    axes.set(xlabel="bytes an item", ylabel="mean squared error of test items", yscale="log", title=name)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(ScalarFormatter())
    figure.legend(loc="outside right center")
    figure.savefig(path, dpi=120)


def _family(row: Row) -> str:
    return re.sub(r" [0-9]+ ", " ", row.method)


class _Clipped(NamedTuple):
    method: Compressor
    low: Floats
    high: Floats

    def encode(self, rows: Floats) -> np.typing.NDArray[np.uint8]:
        return self.method.encode(rows)

    def decode(self, codes: np.typing.NDArray[np.uint8]) -> Floats:
        clipped: Floats = np.clip(self.method.decode(codes), self.low, self.high)
        return clipped


class _Ours(NamedTuple):
    model: ContentModel

    def encode(self, rows: Floats) -> np.typing.NDArray[np.uint8]:
        return self.model.codes(rows)

    def decode(self, codes: np.typing.NDArray[np.uint8]) -> Floats:
        return self.model.reconstruct(codes)


def _train(rows: Rows, settings: ContentSettings, report: Callable[[str], ReportEpoch]) -> ContentModel:
    order = np.random.default_rng(0).permutation(rows.train)
    held = max(1, int(rows.train * _VALIDATION_SHARE))
    # The test items are not shown to the training at all; what it calls its test are items of validation.
    split = Split(np.sort(order[held:]), np.sort(order[:held]), np.sort(order[:held]))
    features = rows.features[: rows.train]
    return train_content(features, split, rows.input_shape, settings, seed=0, report=report).model


def _measured(name: str, baseline: bool, method: Compressor, test: Floats, seconds: float, neighbours: bool) -> Row:
    method.decode(method.encode(test[:256]))
    started = time.perf_counter()
    codes = method.encode(test)
    encoded = time.perf_counter()
    decoded = method.decode(codes)
    finished = time.perf_counter()
    mse = float(np.mean((decoded.astype(np.float64) - test) ** 2))
    return Row(
        name,
        baseline,
        codes.shape[1],
        mse,
        seconds,
        len(test) / (encoded - started),
        len(test) / (finished - encoded),
        _recall(test, decoded) if neighbours else None,
    )


def _recall(test: Floats, decoded: Floats) -> float:
    """Return the share of the true nearest items of the first test items that are found among the decoded ones."""
    found = []
    for base in (test, decoded):
        index = faiss.IndexFlatL2(test.shape[1])
        index.add(np.ascontiguousarray(base))
        found.append(index.search(test[:_QUERIES], _NEIGHBOURS)[1])
    return float(np.mean([len(np.intersect1d(*pair)) / _NEIGHBOURS for pair in zip(*found, strict=True)]))
