"""Training of the content autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from models.arrays import Doubles, Floats
from models.codec import Int8Codec
from models.content import ContentConfig, ContentModel, Scaling, build_decoder, build_encoder
from models.fitting import ReportEpoch, fit_best_epoch
from models.runtime import FixedBatch, compiled, keras, tf

_VALIDATION_SHARE: Final = 0.1
_LEARNING_RATE: Final = 2e-3
_GRADIENT_NORM: Final = 1.0
_PATIENCE: Final = 15
# About so many steps an epoch, between these batch sizes.
_STEPS: Final = 20
_SMALLEST_BATCH: Final = 8
_LARGEST_BATCH: Final = 512


class TrainedContent(NamedTuple):
    """The model and what validation said of it, through the codec and in squared input units."""

    model: ContentModel
    latents: Floats  # of the training items, as decoded from their codes, [n, latent_dim]
    metrics: dict[str, float]


def train_content(
    features: Floats, config: ContentConfig, *, epochs: int, seed: int, report: ReportEpoch
) -> TrainedContent:
    """Return an autoencoder trained on float32 ``[n, input_dim]``; a tenth of the items only validates."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(features))
    held = max(1, int(len(features) * _VALIDATION_SHARE))
    validation, training = features[order[:held]], features[order[held:]]
    scaling = Scaling.fit(training, shared_scale=len(config.input_shape) > 1)
    standard = scaling.standardise(features)
    encoder, decoder = build_encoder(config, seed), build_decoder(config, seed)
    autoencoder = keras.Sequential([encoder, decoder], name="content_autoencoder")
    batch = int(np.clip(len(training) // _STEPS, _SMALLEST_BATCH, _LARGEST_BATCH))
    run_epoch = _epoch_runner(autoencoder, standard[order[held:]], batch, epochs, rng)
    restore = FixedBatch(autoencoder, config.input_dim)

    def validate() -> float:
        return -float(np.mean(_squared_errors(scaling.restore(restore(standard[order[:held]])), validation)))

    best = fit_best_epoch(run_epoch, validate, autoencoder, epochs=epochs, every=1, patience=_PATIENCE, report=report)
    latents = FixedBatch(encoder, config.input_dim)(standard)
    model = ContentModel(config, encoder, decoder, scaling, Int8Codec.fit(latents[order[held:]]))
    errors = model.encode(validation)[1]
    return TrainedContent(
        model,
        model.latents(model.codec.encode(latents)),
        {
            "content_validation_error": float(errors.mean()),
            "content_validation_error_before_codec": -best.score,
            # What always answering with the mean would give: the share that the code explains is 1 - ratio.
            "content_validation_variance": float(np.mean(_squared_errors(scaling.mean[None], validation))),
            "content_epochs": float(best.epoch),
        },
    )


def _squared_errors(restored: Floats, features: Floats) -> Doubles:
    return (restored.astype(np.float64) - features) ** 2


def _epoch_runner(
    autoencoder: Any, training: Floats, batch: int, epochs: int, rng: np.random.Generator
) -> Callable[[int], float]:
    steps = -(-len(training) // batch)
    schedule = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps * epochs, alpha=0.01)
    optimizer = keras.optimizers.Adam(schedule, global_clipnorm=_GRADIENT_NORM)
    optimizer.build(autoencoder.trainable_variables)

    @compiled((None, training.shape[1]))
    def step(rows: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(autoencoder(rows, training=True) - rows))
        gradients = tape.gradient(loss, autoencoder.trainable_variables)
        optimizer.apply_gradients(zip(gradients, autoencoder.trainable_variables, strict=True))
        return loss

    def run_epoch(epoch: int) -> float:  # noqa: ARG001
        order = rng.permutation(len(training))
        return float(np.mean([step(training[rows]).numpy() for rows in np.array_split(order, steps)]))

    return run_epoch
