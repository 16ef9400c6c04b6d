"""Pretraining: what an autoencoder learnt without labels starts a classifier that has few.

Vincent et al. 2010, "Stacked denoising autoencoders"; all layers are trained at once here, as has become usual.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.arrays import Bytes, Floats
from models.autoencoder_training import adam_with_decay
from models.autoencoders import Autoencoder
from models.autoencoders.layers import Layers
from models.runtime import FixedBatch, keras, tf

_LEARNING_RATE: Final = 1e-3
_WEIGHT_DECAY: Final = 1e-2
_BATCH: Final = 64


class Classifier:
    """The encoder of an autoencoder with one layer on its latent; the encoder's weights are shared, not copied.

    Args:
        autoencoder: trained, to start from what it knows, or as it was built, to start from nothing.
        classes: number of them.
        seed: of the last layer's start.
    """

    def __init__(self, autoencoder: Autoencoder, classes: int, seed: int = 0) -> None:
        encoder = autoencoder.encoder
        hidden = keras.layers.Activation("gelu")(encoder.outputs[0])
        self.network = keras.Model(encoder.inputs, Layers(2 * seed, "classifier").dense(classes)(hidden))
        self._width = autoencoder.config.input_dim

    def fit(self, rows: Floats, labels: Bytes, *, steps: int, seed: int) -> None:
        """Train all layers on scaled ``rows`` float32 ``[n, input_dim]`` with labels ``[n]`` for so many steps."""
        weights = self.network.trainable_variables
        optimizer = adam_with_decay(_LEARNING_RATE, steps, _WEIGHT_DECAY, weights)
        signature = [tf.TensorSpec((None, self._width), tf.float32), tf.TensorSpec((None,), tf.int32)]

        @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
        def step(batch: Any, wanted: Any) -> None:
            with tf.GradientTape() as tape:
                output = self.network(batch)
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(wanted, output))
            optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))

        draws = np.random.default_rng(seed)
        waiting = np.empty(0, np.int64)
        for _ in range(steps):
            while len(waiting) < _BATCH:
                waiting = np.concatenate([waiting, draws.permutation(len(rows))])
            chosen, waiting = waiting[:_BATCH], waiting[_BATCH:]
            step(rows[chosen], labels[chosen].astype(np.int32))

    def scores(self, rows: Floats) -> Floats:
        """Return the logits of scaled rows, float32 ``[n, classes]``."""
        logits: Floats = FixedBatch(self.network, self._width)(rows)
        return logits
