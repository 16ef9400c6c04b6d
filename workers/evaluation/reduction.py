"""``evaluate reduction``: few numbers for an image, by our network and by PCA."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import faiss
import msgspec
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from models.arrays import Bytes, Floats
from models.compression_baselines import Pca
from models.fitting import ReportEpoch
from schemas.model_settings import ContentSettings
from workers.evaluation.images import Images, train

WIDTHS: Final = (2, 8, 32)
NEIGHBOURS: Final = 10
# A picture has room for so many.
_MAPPED: Final = 5000


class Row(msgspec.Struct, frozen=True):
    """One method at one width, on the test images.

    ``mse`` is of what the latent decodes to, in squared units of the pixels. ``neighbour_accuracy`` is the share
    of the images that are what most of the 10 training images nearest in the latent space are.
    """

    method: str
    baseline: bool
    width: int
    mse: float
    neighbour_accuracy: float
    train_seconds: float


class Reduced(NamedTuple):
    """A row, and the latents of the test images, float32 ``[n, width]``."""

    row: Row
    latents: Floats


def ours(width: int) -> ContentSettings:
    """Return the settings of our network; the same for every width but for that."""
    return ContentSettings(
        network="residual",
        latent_dim=width,
        hidden=[512, 512],
        epochs=15,
        weight_decay=0.01,
        codec="float32",
    )


def measure(
    images: Images,
    widths: Sequence[int],
    settings: Callable[[int], ContentSettings],
    report: Callable[[str], ReportEpoch],
) -> Iterator[Reduced]:
    """Yield the methods at each width, PCA first."""
    low, high = images.training.pixels.min(axis=0), images.training.pixels.max(axis=0)
    for width in widths:
        started = time.perf_counter()
        pca = Pca(images.training.pixels, width)
        seconds = time.perf_counter() - started
        latents = pca.project(images.training.pixels), pca.project(images.test.pixels)
        # Ours keep to the range seen in training; so may the others.
        yield _reduced("PCA", True, images, latents, np.clip(pca.restore(latents[1]), low, high), seconds)
        started = time.perf_counter()
        model = train(images, settings(width), report)
        seconds = time.perf_counter() - started
        latents = model.latents_of(images.training.pixels), model.latents_of(images.test.pixels)
        yield _reduced("latentstream", False, images, latents, model.decode(latents[1]), seconds)


def draw(latents: Mapping[str, Floats], images: Images, path: Path) -> None:
    """Write the maps of the same test images side by side, one for each method; latents are ``[n, 2]``."""
    figure = Figure(figsize=(6 * len(latents) + 1.6, 6.2), layout="constrained")
    labels = images.test.labels[:_MAPPED]
    colours = colormaps["tab10"](range(len(images.kinds)))
    # No kind lies on top of the others.
    order = np.random.default_rng(0).permutation(len(labels))
    for (method, points), axes in zip(latents.items(), figure.subplots(1, len(latents), squeeze=False)[0], strict=True):
        axes.scatter(*points[:_MAPPED][order].T, s=5, alpha=0.55, linewidths=0, c=colours[labels[order]])
        axes.set(title=method, xticks=[], yticks=[])
        for kind, name in enumerate(images.kinds):
            where = np.median(points[images.test.labels == kind], axis=0)
            text = axes.annotate(name, where, ha="center", va="center", weight="bold", color=0.6 * colours[kind, :3])
            text.set_path_effects([withStroke(linewidth=3, foreground="white", alpha=0.8)])
        # The farthest few would make everything else small.
        for limits, values in zip((axes.set_xlim, axes.set_ylim), points.T, strict=True):
            limits(*_extent(values))
    handles = [
        axes.scatter([], [], s=40, color=colour, label=kind) for kind, colour in zip(images.kinds, colours, strict=True)
    ]
    figure.legend(handles=handles, loc="outside right center", frameon=False)
    figure.suptitle("Fashion-MNIST test images in two dimensions")
    figure.savefig(path, dpi=120)


def _extent(values: Floats) -> tuple[float, float]:
    low, high = np.percentile(values, (0.5, 99.5))
    margin = 0.08 * (high - low)
    return float(low - margin), float(high + margin)


def _reduced(
    method: str, baseline: bool, images: Images, latents: tuple[Floats, Floats], decoded: Floats, seconds: float
) -> Reduced:
    training, test = latents
    mse = float(np.mean((decoded.astype(np.float64) - images.test.pixels) ** 2))
    voted = _vote(training, images.training.labels, test)
    accuracy = float(np.mean(voted == images.test.labels))
    return Reduced(Row(method, baseline, test.shape[1], mse, accuracy, seconds), test)


def _vote(training: Floats, labels: Bytes, test: Floats) -> Bytes:
    """Return the most frequent label of the nearest training items, the lowest of equals."""
    index = faiss.IndexFlatL2(training.shape[1])
    index.add(np.ascontiguousarray(training))
    nearest = index.search(np.ascontiguousarray(test), NEIGHBOURS)[1]
    votes = np.zeros((len(test), int(labels.max()) + 1), np.int64)
    for column in labels[nearest].T:
        votes[np.arange(len(test)), column] += 1
    winners: Bytes = votes.argmax(axis=1).astype(np.uint8)
    return winners
