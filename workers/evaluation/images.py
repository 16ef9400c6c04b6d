"""Fashion-MNIST as the evaluations use it: images to train on, images to tune on, and the test set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from models.arrays import Bytes, Floats
from models.content import ContentModel
from models.content_training import train_content
from models.fitting import ReportEpoch
from models.splits import Split
from schemas.model_settings import ContentSettings
from workers.datasets import fashion

_HELD_SHARE: Final = 0.05


class Part(NamedTuple):
    """Images, float32 ``[n, pixels]`` in [0, 1], and what they show, uint8 ``[n]``."""

    pixels: Floats
    labels: Bytes


class Images(NamedTuple):
    """``held`` are training images that only validate and tune; ``test`` is the data set's own."""

    shape: tuple[int, ...]
    kinds: Sequence[str]
    training: Part
    held: Part
    test: Part


def load(directory: Path | None, items: int | None = None) -> Images:
    """Return the images in random order, at most ``items`` of them to train on and as many to test."""
    loaded = fashion.load(directory)
    pixels = loaded.images.reshape(len(loaded), -1).astype(np.float32) / np.float32(255)
    order = np.random.default_rng(0).permutation(loaded.train)[:items]
    held = max(1, int(len(order) * _HELD_SHARE))
    # The test set is in random order already.
    rows = order[held:], order[:held], np.arange(loaded.train, len(loaded))[:items]
    parts = (Part(pixels[chosen], loaded.labels[chosen]) for chosen in rows)
    return Images(loaded.images.shape[1:], fashion.KINDS, *parts)


def train(images: Images, settings: ContentSettings, report: Callable[[str], ReportEpoch]) -> ContentModel:
    """Return a model that has seen ``images.training``, and ``images.held`` for validation, but no test image."""
    pixels = np.concatenate([images.training.pixels, images.held.pixels])
    held = np.arange(len(images.training.pixels), len(pixels))
    split = Split(np.arange(len(images.training.pixels)), held, held)
    return train_content(pixels, split, images.shape, settings, seed=0, report=report).model
