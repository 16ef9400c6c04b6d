"""``evaluate generation``: images that our variational autoencoder makes up, and those of principal components."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np

from models.arrays import Doubles, Floats
from models.autoencoders import build_autoencoder
from models.autoencoders.config import AutoencoderConfig
from models.compression_baselines import Pca
from models.content import ContentModel
from models.fitting import ReportEpoch
from models.generation import LatentDensity, nearest
from models.pretraining import Classifier
from models.runtime import FixedBatch
from schemas.model_settings import ContentSettings
from workers.evaluation.images import Images, Part, train
from workers.pictures.samples import draw_samples

_SEED: Final = 11
_FEATURES: Final = 64
_PCA_COMPONENTS: Final = 64
_CLASSIFIER_STEPS: Final = 3000
# Distances to the training images are measured for so many.
_COPIES: Final = 2000
_SHOWN: Final = 16
_NEIGHBOURS: Final = 3


class Quality(msgspec.Struct, frozen=True):
    """How samples differ from test images.

    ``frechet`` is the Fréchet distance of normal distributions fitted on features of both (Heusel et al. 2017),
    where the features are the last hidden layer of a classifier trained on the labelled training images.
    ``copy_ratio`` is the median squared distance of a sample to its nearest training image over that of a test
    image: near 0 for copies.
    """

    frechet: float
    copy_ratio: float


class Result(msgspec.Struct, frozen=True):
    """``latentstream`` samples the fitted latents, ``prior`` the standard normal one; ``real`` is the floor.

    The baselines fit a normal distribution and the same mixture that we use to principal components.
    """

    latentstream: Quality
    prior: Quality
    pca_gaussian: Quality
    pca_mixture: Quality
    real: Quality
    width: int
    active_units: float
    kl_nats: float


class Generated(NamedTuple):
    """The result, the model, and its first samples, float32 ``[n, pixels]``."""

    result: Result
    model: ContentModel
    samples: Floats


def ours() -> ContentSettings:
    """Return the settings of the generator; chosen on images held out of training."""
    return ContentSettings(
        kind="variational",
        network="residual",
        latent_dim=24,
        hidden=[512, 512],
        epochs=20,
        loss="binary",
        weight_decay=0.01,
        beta=0.1,
        codec="float32",
    )


def measure(
    images: Images,
    settings: ContentSettings,
    report: Callable[[str], ReportEpoch],
    tested: Part | None = None,
    steps: int = _CLASSIFIER_STEPS,
) -> Generated:
    """Train and sample; ``tested`` are the test images unless others are given to tune on."""
    wanted = (tested or images.test).pixels
    count = len(wanted)
    model = train(images, settings, report)
    training = images.training.pixels
    latents = model.latents_of(training)
    density = LatentDensity(latents)
    # 64 components gave the baseline better samples than our width of 24.
    pca = Pca(training, _PCA_COMPONENTS)
    projected = pca.project(training)
    normal = np.random.default_rng(_SEED).standard_normal((count, model.latent_dim)).astype(np.float32)
    made = {
        "latentstream": model.decode(density.sample(count, _SEED)),
        "prior": model.decode(normal),
        "pca_gaussian": np.clip(pca.restore(LatentDensity(projected, 1).sample(count, _SEED)), 0, 1),
        "pca_mixture": np.clip(pca.restore(LatentDensity(projected).sample(count, _SEED)), 0, 1),
        "real": images.held.pixels if tested is None else training[:count],
    }
    features = _features(images, model, steps)
    held = _moments(features(wanted))
    usual = float(np.median(nearest(training, wanted[:_COPIES], 1)[0]))
    qualities = {
        name: Quality(
            frechet_distance(_moments(features(samples)), held),
            float(np.median(nearest(training, samples[:_COPIES], 1)[0])) / usual,
        )
        for name, samples in made.items()
    }
    found = model.autoencoder.statistics(model.scaling.scaled(wanted), model.latents_of(wanted))
    result = Result(**qualities, width=model.latent_dim, active_units=found["active_units"], kl_nats=found["kl_nats"])
    return Generated(result, model, made["latentstream"][:_SHOWN])


def draw(generated: Generated, images: Images, path: Path) -> None:
    """Write a picture of samples and of the training images that have the nearest latents."""
    latents = generated.model.latents_of(images.training.pixels)
    rows = nearest(latents, generated.model.latents_of(generated.samples), _NEIGHBOURS)[1]
    names = [[images.kinds[images.training.labels[row]] for row in found] for found in rows]
    title = "Samples, and the training images nearest to them"
    draw_samples(generated.samples, images.training.pixels[rows], names, images.shape, title, path)


def frechet_distance(first: tuple[Doubles, Doubles], second: tuple[Doubles, Doubles]) -> float:
    """Return ``|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½)`` of two pairs of mean ``[d]`` and covariance ``[d, d]``."""
    (mean, covariance), (other_mean, other_covariance) = first, second
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    # The same trace as that of (C1 C2)^½, of a symmetric matrix.
    cross = np.linalg.eigvalsh(root @ other_covariance @ root)
    shared = float(np.sum(np.sqrt(np.maximum(cross, 0))))
    return float(np.sum((mean - other_mean) ** 2) + np.trace(covariance) + np.trace(other_covariance) - 2 * shared)


def _features(images: Images, model: ContentModel, steps: int) -> Callable[[Floats], Floats]:
    config = AutoencoderConfig(kind="vanilla", input_shape=images.shape, latent_dim=_FEATURES, hidden=(512, 256))
    network = build_autoencoder(config, seed=_SEED)
    rows = model.scaling.scaled(images.training.pixels)
    Classifier(network, len(images.kinds)).fit(rows, images.training.labels, steps=steps, seed=_SEED)
    encode = FixedBatch(network.encoder, config.input_dim)
    return lambda pixels: encode(model.scaling.scaled(pixels))


def _moments(features: Floats) -> tuple[Doubles, Doubles]:
    wide = features.astype(np.float64)
    return wide.mean(axis=0), np.cov(wide.T)
