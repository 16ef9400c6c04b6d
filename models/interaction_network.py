"""The training of one interaction autoencoder step by step, and what is kept of it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.arrays import Doubles, Floats, Ints
from models.baselines import in_blocks
from models.histories import Histories
from models.interaction import KINDS, Batch, InteractionConfig, build_autoencoder, weighted_bags
from models.interaction.base import CANDIDATES
from models.runtime import FixedBatch, keras, tf

_GRADIENT_NORM: Final = 100.0
# The learning rate falls to this share of the first.
_LAST_RATE: Final = 0.02
# In the order of the fields of a batch.
_INPUTS: Final = Batch(
    users=tf.TensorSpec((), tf.int32),
    input_users=tf.TensorSpec((None,), tf.int32),
    input_items=tf.TensorSpec((None,), tf.int32),
    input_weights=tf.TensorSpec((None,), tf.float32),
    input_shares=tf.TensorSpec((None,), tf.float32),
    target_users=tf.TensorSpec((None,), tf.int32),
    target_items=tf.TensorSpec((None,), tf.int32),
    target_weights=tf.TensorSpec((None,), tf.float32),
    candidates=tf.TensorSpec((None,), tf.int32),
    log_inclusion=tf.TensorSpec((), tf.float32),
)


class InteractionNetwork:
    """The network over ``items`` items, set up for ``steps`` training steps.

    Args:
        config: the architecture.
        items: size of the catalogue.
        steps: how many will be taken.
        seed: of all that is drawn.
        owners: how many of the histories have each item, int64 ``[items]``; none have any if not given.
        popularity: see :func:`popularity_offsets`.
    """

    def __init__(
        self,
        config: InteractionConfig,
        items: int,
        steps: int,
        seed: int,
        owners: Ints | None = None,
        popularity: float = 0.0,
    ) -> None:
        self.config = config
        self.items = items
        self._steps = steps
        self._seed = seed
        self.autoencoder = build_autoencoder(config, items, seed)
        counts = np.zeros(items, np.int64) if owners is None else owners
        self.autoencoder.count(counts)
        self._offsets = popularity_offsets(config, counts, popularity)
        self.user_encoder = self.autoencoder.user_encoder
        self._optimizers = [self._optimizer(variables) for variables in self.autoencoder.groups]
        self._train = [self._compiled_step(group) for group in range(len(self._optimizers))]
        self._group = 0
        self._encode = FixedBatch(self.user_encoder, config.hidden)

    @property
    def moving(self) -> list[Any]:
        """What changes in training beside the trainable variables."""
        return [*self.autoencoder.moving, *(value for optimizer in self._optimizers for value in optimizer.variables)]

    def begin_epoch(self, epoch: int) -> None:
        """Do what is due before an epoch."""
        self._group = self.autoencoder.begin_epoch(epoch)

    def train_step(self, inputs: Histories, targets: Histories, input_shares: Floats, step: int) -> float:
        """Take one step from the early parts of some histories to the late ones; return the loss.

        Target weights count as they are, input weights are scaled to length 1; see :class:`Batch`.
        """
        seed = np.array([self._seed, step], np.int32)
        candidates, log_inclusion = np.arange(self.items), 0.0
        if self.items > CANDIDATES:
            candidates = np.random.default_rng([self._seed, step]).integers(0, self.items, CANDIDATES)
            log_inclusion = np.log(CANDIDATES / self.items)
        batch = Batch(
            len(inputs),
            inputs.users,
            inputs.items,
            inputs.unit_weights(),
            input_shares,
            targets.users,
            targets.items,
            targets.weights,
            candidates,
            log_inclusion,
        )
        tensors = [tf.cast(value, spec.dtype) for value, spec in zip(batch, _INPUTS, strict=True)]
        return float(self._train[self._group](*tensors, seed, np.float32(step / self._steps)).numpy())

    @property
    def embeddings(self) -> Floats:
        """Input embeddings, float32 ``[items, hidden]``."""
        return self.autoencoder.embeddings

    @property
    def retrieval(self) -> Floats:
        """Retrieval vectors ``[w, b]``, float32 ``[items, user_dim + 1]``."""
        vectors = self.autoencoder.retrieval
        return np.concatenate([vectors[:, :-1], vectors[:, -1:] + self._offsets[:, None]], axis=1)

    def user_codes(self, histories: Histories) -> Floats:
        """Return the users' codes, float32 ``[users, user_dim]``."""
        return self._encode(weighted_bags(self.embeddings, histories.indptr, histories.items, histories.weights))

    def recommend(self, histories: Histories, k: int) -> tuple[Ints, Floats]:
        """Return item indices and scores, ``[users, k]``, as the baselines do."""
        vectors = self.retrieval.astype(np.float64)

        def score(some: Histories) -> Doubles:
            scores: Doubles = self.user_codes(some).astype(np.float64) @ vectors[:, :-1].T + vectors[:, -1]
            return scores

        return in_blocks(score, histories, k)

    def _optimizer(self, variables: list[Any]) -> Any:
        schedule = keras.optimizers.schedules.CosineDecay(
            self.autoencoder.learning_rate, max(1, self._steps), alpha=_LAST_RATE
        )
        optimizer = keras.optimizers.Adam(schedule, global_clipnorm=_GRADIENT_NORM)
        optimizer.build(variables)
        return optimizer

    def _compiled_step(self, group: int) -> Any:
        variables, optimizer = self.autoencoder.groups[group], self._optimizers[group]

        def step(*tensors: Any) -> Any:
            *batch, seed, progress = tensors
            with tf.GradientTape() as tape:
                loss = self.autoencoder.loss(Batch(*batch), seed, progress, group)
            # As slices of a table they would take Keras' Adam twice as long (Gowalla: .14 s, dense .08 s).
            gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, variables)]
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
            return loss

        signature = [*_INPUTS, tf.TensorSpec((2,), tf.int32), tf.TensorSpec((), tf.float32)]
        return tf.function(step, input_signature=signature, autograph=False)


def popularity_offsets(config: InteractionConfig, owners: Ints, popularity: float) -> Floats:
    """Return what to add to each item's score, float32 ``[items]``, to recommend the popular more, or less.

    Where the items to be found are drawn as ``p(item | history) n^popularity`` rather than as in training, with n the
    number of ``owners``, the histories that have the item, the logits to rank by are those of the training and
    ``popularity log n``: the correction for other priors, as in Menon et al. 2021 (arXiv:2007.07314), which there
    balances classes.

    Raises:
        ValueError: the kind has no logits.
    """
    if not popularity:
        return np.zeros(len(owners), np.float32)
    temperature = KINDS[config.kind].temperature
    if temperature is None:
        raise ValueError(f"the scores of {config.kind} are no logits, popularity must be 0")
    offsets: Floats = (popularity * temperature * np.log(np.maximum(owners, 1))).astype(np.float32)
    return offsets
