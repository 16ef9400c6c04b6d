"""The training graph of the interaction autoencoder; its user encoder and arrays are what is kept."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.arrays import Doubles, Floats, Ints
from models.baselines import top_unseen
from models.histories import Histories
from models.interaction import InteractionConfig, build_user_encoder, weighted_bags
from models.runtime import FixedBatch, compiled, keras, tf

_LEARNING_RATE: Final = 2e-3
_GRADIENT_NORM: Final = 100.0
_KL_WEIGHT: Final = 0.03
# The KL weight grows over this share of the steps (Liang et al. 2018, section 2.2.2).
_WARM_UP: Final = 0.3
_DROPOUT: Final = 0.1
# Low, so that the first steps are not all noise.
_FIRST_LOG_VARIANCE: Final = -1.0
_USERS_AT_A_TIME: Final = 1024


class InteractionNetwork:
    """The network over ``items`` items, set up for ``steps`` training steps."""

    def __init__(self, config: InteractionConfig, items: int, steps: int, seed: int) -> None:
        self.config = config
        self.items = items
        self._steps = steps

        def dense(width: int, offset: int, name: str, bias: float | None = 0.0) -> Any:
            return keras.layers.Dense(
                width,
                kernel_initializer=keras.initializers.GlorotUniform(seed=seed + offset),
                use_bias=bias is not None,
                bias_initializer=keras.initializers.Constant(bias or 0.0),
                name=name,
            )

        self.user_encoder = build_user_encoder(config, seed)
        history = keras.Input((items,), name="history")
        self._embedding = dense(config.hidden, 1, "embedding", None)
        bag = self._embedding(history)
        mean = self.user_encoder(bag)
        hidden = keras.layers.Activation("tanh")(bag)
        log_variance = dense(config.user_dim, 2, "log_variance", _FIRST_LOG_VARIANCE)(hidden)
        self._encoder = keras.Model(history, [mean, log_variance])
        self._output = dense(items, 3, "scores")
        self._output.build((None, config.user_dim))
        code = keras.Input((config.user_dim,), name="code")
        self.model = keras.Model([history, code], [*self._encoder(history), self._output(code)])
        self._step = self._compiled_step()
        self._encode = FixedBatch(self.user_encoder, config.hidden)

    def train_step(self, inputs: Floats, targets: Floats, seed: tuple[int, int]) -> float:
        """Take one step on dense ``[users, items]`` inputs and targets; return the loss."""
        progress = min(1.0, seed[1] / (_WARM_UP * self._steps))
        loss = self._step(inputs, targets, np.float32(_KL_WEIGHT * progress), np.array(seed, np.float32))
        return float(loss.numpy())

    @property
    def embeddings(self) -> Floats:
        """Input embeddings, float32 ``[items, hidden]``."""
        weights: Floats = self._embedding.get_weights()[0]
        return weights

    @property
    def retrieval(self) -> Floats:
        """Retrieval vectors ``[w, b]``, float32 ``[items, user_dim + 1]``."""
        kernel, bias = self._output.get_weights()
        return np.concatenate([kernel.T, bias[:, None]], axis=1)

    def user_codes(self, histories: Histories) -> Floats:
        """Return the users' codes, float32 ``[users, user_dim]``."""
        return self._encode(weighted_bags(self.embeddings, histories.indptr, histories.items, histories.weights))

    def recommend(self, histories: Histories, k: int) -> tuple[Ints, Floats]:
        """Return item indices and scores, ``[users, k]``, as the baselines do."""
        codes, vectors = self.user_codes(histories).astype(np.float64), self.retrieval.astype(np.float64)
        found, values = [], []
        for start in range(0, len(histories), _USERS_AT_A_TIME):
            users = np.arange(start, min(start + _USERS_AT_A_TIME, len(histories)))
            scores: Doubles = codes[users] @ vectors[:, :-1].T + vectors[:, -1]
            ids, best = top_unseen(scores, histories.take(users), k)
            found.append(ids)
            values.append(best)
        return np.concatenate(found), np.concatenate(values)

    def _compiled_step(self) -> Any:
        schedule = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, max(1, self._steps), alpha=0.02)
        optimizer = keras.optimizers.Adam(schedule, global_clipnorm=_GRADIENT_NORM)
        variables = self.model.trainable_variables
        optimizer.build(variables)
        matrix = (None, self.items)

        @compiled(matrix, matrix, (), (2,))
        def step(inputs: Any, targets: Any, kl_weight: Any, seed: Any) -> Any:
            seed = tf.cast(seed, tf.int32)
            kept = tf.random.stateless_uniform(tf.shape(inputs), seed) >= _DROPOUT
            inputs = tf.math.l2_normalize(tf.where(kept, inputs, 0.0), axis=1)
            with tf.GradientTape() as tape:
                mean, log_variance = self._encoder(inputs)
                noise = tf.random.stateless_normal(tf.shape(mean), seed + tf.constant([1, 0]))
                code = mean + tf.exp(0.5 * log_variance) * noise
                likelihood = tf.reduce_sum(tf.nn.log_softmax(self._output(code)) * targets, axis=1)
                kl = 0.5 * tf.reduce_sum(tf.square(mean) + tf.exp(log_variance) - 1 - log_variance, axis=1)
                loss = tf.reduce_mean(kl_weight * kl - likelihood)
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            return loss

        return step
