"""Training of the content model: the autoencoder, then the codec, and what the split says of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from models.anomaly import Detector
from models.arrays import Floats
from models.autoencoder_training import train_autoencoder
from models.autoencoders import AutoencoderConfig, build_autoencoder
from models.checkpoints import Checkpoints, Curve
from models.codecs import fit_codec
from models.codecs.plain import FloatCodec
from models.codecs.residual import ResidualCodec
from models.content import ContentModel
from models.decoder_tuning import tune_decoder
from models.fitting import ReportEpoch
from models.joint_training import train_with_codec
from models.runtime import FixedBatch
from models.scaling import Scaling
from models.splits import Split
from schemas.model_settings import ContentSettings


class TrainedContent(NamedTuple):
    """The model, and what the validation and test items say of it."""

    model: ContentModel
    latents: Floats  # of all items, as decoded from their codes, [n, latent_dim]
    held_out_errors: Floats  # of the validation and test items, in squared input units, [h]
    metrics: dict[str, float]
    curves: dict[str, Curve]  # by stage


def autoencoder_config(settings: ContentSettings, input_shape: tuple[int, ...]) -> AutoencoderConfig:
    """Return the architecture that the settings ask for."""
    chosen = settings.model_dump(include=set(AutoencoderConfig.__struct_fields__))
    return AutoencoderConfig(**{**chosen, "input_shape": input_shape, "hidden": tuple(settings.hidden)})


def train_content(
    features: Floats,
    split: Split,
    input_shape: tuple[int, ...],
    settings: ContentSettings,
    *,
    seed: int,
    report: Callable[[str], ReportEpoch],
    checkpoints: Checkpoints | None = None,
    predecessor: ContentModel | None = None,
) -> TrainedContent:
    """Return a content model trained on float32 ``[n, input_dim]``.

    It begins with the networks of ``predecessor``, which must have the same architecture, and then keeps its scaling,
    without which they mean nothing.
    ``report`` gives, for the stage "autoencoder", "codec" or "decoder", what is told of its epochs.

    Raises:
        ValueError: the settings do not suit the items.
        FloatingPointError: the loss is not finite.
    """
    config = autoencoder_config(settings, input_shape)
    autoencoder = build_autoencoder(config, seed)
    training, validation, test = (features[rows] for rows in split)
    if predecessor is None:
        scaling = Scaling.fit(training, loss=config.loss, shared_scale=len(input_shape) > 1, tails=settings.tails)
    else:
        scaling = predecessor.scaling
    rows = scaling.scaled(training), scaling.scaled(validation)
    if predecessor is None:
        autoencoder.start(rows[0])
    else:
        autoencoder.copy(predecessor.autoencoder)
    curves: dict[str, Curve] = {}
    if settings.epochs:
        stage = checkpoints.stage("autoencoder") if checkpoints else None
        best = train_autoencoder(
            autoencoder, *rows, epochs=settings.epochs, seed=seed, report=report("autoencoder"), checkpoint=stage
        )
        curves["autoencoder"] = best.curve
    latents = FixedBatch(autoencoder.encoder, config.input_dim)(rows[0])
    codec = fit_codec(
        settings.codec,
        latents,
        code_bytes=settings.code_bytes,
        candidates=settings.candidates,
        active=config.active,
        seed=seed,
    )
    if isinstance(codec, ResidualCodec):
        stage = checkpoints.stage("codec") if checkpoints else None
        codec, best = train_with_codec(
            autoencoder,
            codec,
            scaling,
            training,
            validation,
            epochs=settings.codec_epochs,
            shift_share=settings.shift_share,
            seed=seed,
            report=report("codec"),
            checkpoint=stage,
        )
        curves["codec"] = best.curve
    model = ContentModel(autoencoder, scaling, codec)
    if settings.tuning_epochs and not isinstance(codec, FloatCodec):
        stage = checkpoints.stage("decoder") if checkpoints else None
        best = tune_decoder(
            model,
            training,
            validation,
            epochs=settings.tuning_epochs,
            shift_share=settings.shift_share,
            seed=seed,
            report=report("decoder"),
            checkpoint=stage,
        )
        curves["decoder"] = best.curve
    scaled = scaling.scaled(validation)
    continuous = model.latents_of(validation)
    model.detector = Detector.fit(
        model.latents_of(training),
        continuous,
        model.scaled_errors(validation),
        false_alarm_rate=settings.false_alarm_rate,
        seed=seed,
    )
    validated, tested = model.encode(validation), model.encode(test)
    metrics = {
        "content_validation_error": _mean(validated.errors),
        "content_validation_error_before_codec": _mean((model.decode(continuous) - validation) ** 2),
        # What always answering with the mean would give: the share that the code explains is 1 - ratio.
        "content_validation_variance": _mean((training.mean(axis=0) - validation) ** 2),
        "content_test_error": _mean(tested.errors),
        "content_test_false_alarms": float(np.mean(tested.scores > 1)),
        "content_epochs": float(sum(len(curve.training) for curve in curves.values())),
    }
    metrics |= {f"content_{name}": value for name, value in autoencoder.statistics(scaled, continuous).items()}
    held_out_errors = np.concatenate([validated.errors, tested.errors])
    return TrainedContent(model, model.latents(model.codes(features)), held_out_errors, metrics, curves)


def _mean(values: Floats) -> float:
    return float(np.mean(values, dtype=np.float64))
