"""Network and residual codec learn together: the quantiser is inside the training.

The latent is quantised by the codebooks as they are, and the gradient goes straight through to the encoder (van den
Oord et al. 2017, "Neural discrete representation learning"); the codewords that were chosen get the decoder's
gradient directly. A commitment loss keeps latents near their codewords.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.arrays import Floats
from models.augmentation import shifted
from models.autoencoder_training import adam_with_decay
from models.autoencoders import Autoencoder
from models.checkpoints import Checkpoint
from models.codecs.residual import ResidualCodec
from models.codecs.search import beam_search, codewords
from models.fitting import BestEpoch, ReportEpoch, Resumption, Weights, fit_best_epoch
from models.runtime import FixedBatch, tf
from models.scaling import Scaling

_LEARNING_RATE: Final = 1e-3
_BATCH: Final = 256
_SMALLEST_BATCH: Final = 32
_STEPS: Final = 20
# With less of it the latents run away from codebooks that cannot follow: at 0.1 the first five epochs were lost.
_COMMITMENT: Final = 1.0
# A narrower search than at inference costs little and halves the time of a step.
_TRAINING_BEAM: Final = 4
# Long, since the largest steps of a cosine schedule come before its best weights.
_PATIENCE: Final = 10


def train_with_codec(
    autoencoder: Autoencoder,
    codec: ResidualCodec,
    scaling: Scaling,
    training: Floats,
    validation: Floats,
    *,
    epochs: int,
    shift_share: float,
    seed: int,
    report: ReportEpoch,
    checkpoint: Checkpoint | None = None,
) -> tuple[ResidualCodec, BestEpoch]:
    """Train on features float32 ``[n, input_dim]``; leave the best weights and return the best codec.

    ``shift_share`` of the training images are moved, see :mod:`models.augmentation`.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    batch = int(np.clip(len(training) // _STEPS, _SMALLEST_BATCH, _BATCH))
    steps = -(-len(training) // batch)
    codebooks = tf.Variable(codec.codebooks)
    variables = [*autoencoder.trainable, codebooks]
    optimizer = adam_with_decay(_LEARNING_RATE, steps * epochs, autoencoder.config.weight_decay, variables)
    signature = [tf.TensorSpec((None, training.shape[1]), tf.float32), tf.TensorSpec((2,), tf.int32)]

    @tf.function(input_signature=signature, jit_compile=True, autograph=False)  # type: ignore[untyped-decorator]
    def step(rows: Any, seed: Any) -> Any:
        with tf.GradientTape() as tape:
            latent, penalty = autoencoder.latent(autoencoder.corrupt(rows, seed), seed, tf.constant(1.0))
            codes = beam_search(tf.stop_gradient(latent), tf.stop_gradient(codebooks), _TRAINING_BEAM)[:, 0]
            quantised = codewords(codes, codebooks)
            reconstruction = autoencoder.loss_of_latents(quantised + latent - tf.stop_gradient(latent), rows)
            commitment = tf.reduce_mean(tf.square(latent - quantised), axis=1)
            loss = tf.reduce_mean(reconstruction + penalty + _COMMITMENT * commitment)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    def run_epoch(epoch: int) -> float:
        draws = np.random.default_rng([seed, 1, epoch])
        losses = []
        for number, chosen in enumerate(np.array_split(draws.permutation(len(training)), steps)):
            rows = shifted(training[chosen], autoencoder.config.input_shape, shift_share, draws)
            losses.append(step(scaling.scaled(rows), np.array([seed + 1, epoch * steps + number], np.int32)))
        return float(np.mean([loss.numpy() for loss in losses]))

    def loss_of_each(rows: Any) -> Any:
        codes = beam_search(autoencoder.encoder(rows), codebooks, _TRAINING_BEAM)[:, 0]
        return autoencoder.loss_of_latents(codewords(codes, codebooks), rows)[:, None]

    validate, held = FixedBatch(loss_of_each, training.shape[1]), scaling.scaled(validation)
    best = fit_best_epoch(
        run_epoch,
        lambda: -float(np.mean(validate(held), dtype=np.float64)),
        Weights(variables),
        epochs=epochs,
        every=1,
        patience=_PATIENCE,
        report=report,
        resumption=Resumption.of_optimizer(checkpoint, optimizer),
    )
    return ResidualCodec(codebooks.numpy(), codec.candidates), best
