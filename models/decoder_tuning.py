"""The last stage: the decoder learns what the codec really gives back, with encoder and codes as they are."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.arrays import Floats
from models.augmentation import shifted
from models.autoencoder_training import adam_with_decay
from models.checkpoints import Checkpoint
from models.content import ContentModel
from models.fitting import BestEpoch, ReportEpoch, Resumption, Weights, fit_best_epoch
from models.runtime import FixedBatch, tf

_LEARNING_RATE: Final = 3e-4
_BATCH: Final = 256
_STEPS: Final = 20
_SMALLEST_BATCH: Final = 8


def tune_decoder(
    model: ContentModel,
    training: Floats,
    validation: Floats,
    *,
    epochs: int,
    shift_share: float,
    seed: int,
    report: ReportEpoch,
    checkpoint: Checkpoint | None = None,
) -> BestEpoch:
    """Train ``model``'s decoder on the codes of features float32 ``[n, input_dim]``, where that helps validation.

    ``shift_share`` of the images are moved, see :mod:`models.augmentation`.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    autoencoder = model.autoencoder
    training = shifted(training, model.input_shape, shift_share, np.random.default_rng([seed, 2]))
    latents, rows = model.latents(model.codes(training)), model.scaling.scaled(training)
    held = np.concatenate([model.latents(model.codes(validation)), model.scaling.scaled(validation)], axis=1)
    batch = int(np.clip(len(rows) // _STEPS, _SMALLEST_BATCH, _BATCH))
    steps = -(-len(rows) // batch)
    weights = autoencoder.decoder.trainable_variables
    optimizer = adam_with_decay(_LEARNING_RATE, steps * epochs, autoencoder.config.weight_decay, weights)
    signature = [tf.TensorSpec((None, width), tf.float32) for width in (model.latent_dim, model.input_dim)]

    @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
    def step(given: Any, wanted: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(autoencoder.loss_of_latents(given, wanted))
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return loss

    def run_epoch(epoch: int) -> float:
        order = np.random.default_rng([seed, 3, epoch]).permutation(len(rows))
        losses = [step(latents[chosen], rows[chosen]) for chosen in np.array_split(order, steps)]
        return float(np.mean([loss.numpy() for loss in losses]))

    width = model.latent_dim
    loss_of_each = FixedBatch(
        lambda pairs: autoencoder.loss_of_latents(pairs[:, :width], pairs[:, width:])[:, None], held.shape[1]
    )

    def validate() -> float:
        return -float(np.mean(loss_of_each(held), dtype=np.float64))

    decoder = Weights(weights)
    untuned, score = decoder.get_weights(), validate()
    best = fit_best_epoch(
        run_epoch,
        validate,
        decoder,
        epochs=epochs,
        every=1,
        patience=epochs,
        report=report,
        resumption=Resumption.of_optimizer(checkpoint, optimizer),
    )
    if best.score < score:
        decoder.set_weights(untuned)
    return best
