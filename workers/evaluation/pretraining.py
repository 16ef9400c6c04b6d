"""``evaluate pretraining``: a classifier with few labels that starts from an autoencoder, and one that does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from models.arrays import Floats
from models.autoencoders import Autoencoder, build_autoencoder
from models.fitting import ReportEpoch
from models.pretraining import Classifier
from schemas.model_settings import ContentSettings
from workers.evaluation.images import Images, Part, train

LABELS: Final = (10, 50, 500)
_STEPS: Final = 1000


class Row(msgspec.Struct, frozen=True):
    """Shares of the test images that are told right, means over ``repeats`` choices of the labelled images."""

    labels_a_class: int
    pretrained: float
    scratch: float
    repeats: int
    pretrained_deviation: float
    scratch_deviation: float


def ours() -> ContentSettings:
    """Return the settings of the autoencoder; chosen on images held out of training."""
    return ContentSettings(
        kind="denoising",
        network="dense",
        latent_dim=256,
        hidden=[1024, 512],
        epochs=20,
        codec="float32",
        corruption="masking",
        corruption_amount=0.4,
        weight_decay=0.01,
    )


def measure(
    images: Images,
    labels: Sequence[int],
    repeats: int,
    settings: ContentSettings,
    report: Callable[[str], ReportEpoch],
    tested: Part | None = None,
) -> Iterator[Row]:
    """Yield a row for each number of labels; ``tested`` are the test images unless others are given to tune on.

    Raises:
        ValueError: a class has not that many images.
    """
    tested = tested or images.test
    model = train(images, settings, report)
    trained = [variable.numpy() for variable in model.autoencoder.encoder.variables]
    scaled = model.scaling.scaled(images.training.pixels), model.scaling.scaled(tested.pixels)
    for count in labels:
        accuracies: dict[bool, list[float]] = {True: [], False: []}
        for repeat in range(repeats):
            chosen = _labelled(images, count, repeat)
            for pretrained, found in accuracies.items():
                autoencoder = build_autoencoder(model.config, seed=repeat)
                if pretrained:
                    for variable, value in zip(autoencoder.encoder.variables, trained, strict=True):
                        variable.assign(value)
                found.append(_accuracy(autoencoder, scaled, images, chosen, tested, repeat))
        means = {start: float(np.mean(found)) for start, found in accuracies.items()}
        deviations = {start: float(np.std(found)) for start, found in accuracies.items()}
        yield Row(count, means[True], means[False], repeats, deviations[True], deviations[False])


def _labelled(images: Images, count: int, seed: int) -> list[int]:
    draws = np.random.default_rng([seed, count])
    chosen: list[int] = []
    for kind in range(len(images.kinds)):
        rows = np.flatnonzero(images.training.labels == kind)
        if len(rows) < count:
            raise ValueError(f"there are {len(rows)} images of {images.kinds[kind]}, not {count}")
        chosen += draws.choice(rows, count, replace=False).tolist()
    return chosen


def _accuracy(
    autoencoder: Autoencoder,
    scaled: tuple[Floats, Floats],
    images: Images,
    chosen: list[int],
    tested: Part,
    seed: int,
) -> float:
    classifier = Classifier(autoencoder, len(images.kinds), seed)
    classifier.fit(scaled[0][chosen], images.training.labels[chosen], steps=_STEPS, seed=seed)
    return float(np.mean(classifier.scores(scaled[1]).argmax(axis=1) == tested.labels))
