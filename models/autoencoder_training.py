"""Training of an autoencoder of any kind, before there is a codec."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.arrays import Floats
from models.autoencoders import Autoencoder
from models.checkpoints import Checkpoint
from models.fitting import BestEpoch, ReportEpoch, Resumption, Weights, fit_best_epoch
from models.runtime import FixedBatch, keras, tf

_LEARNING_RATE: Final = 2e-3
# The rate grows from 0 over this share of the steps, then falls along a cosine.
_WARM_UP: Final = 0.05
_GRADIENT_NORM: Final = 1.0
# Of Adam's two averages; shorter than usual, since trainings of a thousand steps are.
_SECOND_MOMENT: Final = 0.99
_PATIENCE: Final = 15
# About so many steps an epoch, between these batch sizes.
_STEPS: Final = 20
_SMALLEST_BATCH: Final = 8
_LARGEST_BATCH: Final = 512
_VALIDATION_SEED: Final = (0, 0)


def train_autoencoder(
    autoencoder: Autoencoder,
    training: Floats,
    validation: Floats,
    *,
    epochs: int,
    seed: int,
    report: ReportEpoch,
    checkpoint: Checkpoint | None = None,
) -> BestEpoch:
    """Train on scaled rows float32 ``[n, input_dim]`` and leave the weights that were best in validation.

    Validation is the loss as training sees it at its end (corrupted or sampled, with one fixed seed, and with
    the whole penalty: without it the best weights would be those from before the penalty came to bear).

    Raises:
        FloatingPointError: the loss is not finite.
    """
    batch = int(np.clip(len(training) // _STEPS, _SMALLEST_BATCH, _LARGEST_BATCH))
    steps = -(-len(training) // batch)
    optimizer = adam_with_decay(_LEARNING_RATE, steps * epochs, autoencoder.config.weight_decay, autoencoder.trainable)
    step = training_step(autoencoder, optimizer)

    def run_epoch(epoch: int) -> float:
        # From the epoch alone, so that a training that goes on from a checkpoint sees what it would have seen.
        order = np.random.default_rng([seed, epoch]).permutation(len(training))
        losses = []
        for number, rows in enumerate(np.array_split(order, steps)):
            done = epoch * steps + number
            progress = np.float32(done / (steps * epochs))
            losses.append(step(training[rows], np.array([seed, done], np.int32), progress))
        return float(np.mean([loss.numpy() for loss in losses]))

    def loss_of_each(rows: Any) -> Any:
        losses = autoencoder.losses(rows, tf.constant(_VALIDATION_SEED), tf.constant(1.0))
        return (losses.reconstruction + losses.penalty)[:, None]

    validate = FixedBatch(loss_of_each, training.shape[1])
    return fit_best_epoch(
        run_epoch,
        lambda: -float(np.mean(validate(validation), dtype=np.float64)),
        Weights(autoencoder.trainable),
        epochs=epochs,
        every=1,
        patience=_PATIENCE,
        report=report,
        resumption=Resumption.of_optimizer(checkpoint, optimizer),
    )


def adam_with_decay(rate: float, steps: int, decay: float, variables: list[Any]) -> Any:
    """Return AdamW (Loshchilov and Hutter 2019) with warm-up and cosine for so many steps."""
    warm_up = max(1, int(_WARM_UP * steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm_up), alpha=0.01, warmup_target=rate, warmup_steps=warm_up
    )
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=decay, beta_2=_SECOND_MOMENT, global_clipnorm=_GRADIENT_NORM
    )
    # Decay is for what multiplies; offsets and scales of normalisations have no reason to be small, and
    # neither have codebooks, which have three dimensions.
    optimizer.exclude_from_weight_decay([variable for variable in variables if len(variable.shape) in (1, 3)])
    optimizer.build(variables)
    return optimizer


def training_step(autoencoder: Autoencoder, optimizer: Any) -> Any:
    """Return a compiled step: rows ``[batch, input_dim]``, seed int32 ``[2]``, progress; the mean loss."""
    variables = autoencoder.trainable
    signature = [
        tf.TensorSpec((None, autoencoder.config.input_dim), tf.float32),
        tf.TensorSpec((2,), tf.int32),
        tf.TensorSpec((), tf.float32),
    ]

    @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
    def step(rows: Any, seed: Any, progress: Any) -> Any:
        with tf.GradientTape() as tape:
            losses = autoencoder.losses(rows, seed, progress)
            loss = tf.reduce_mean(losses.reconstruction + losses.penalty)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return step
