"""What all interaction autoencoders share: sparse batches, the embedding bag and the likelihood.

No tensor is as large as users x catalogue: histories are lists of (user, item) pairs, and the multinomial
likelihood is taken over at most :data:`CANDIDATES` items.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np

from models.arrays import Floats, Ints
from models.interaction.config import InteractionConfig
from models.runtime import keras, tf

# A catalogue up to this size is ranked whole in each step, of a larger one a sample of this size.
CANDIDATES: Final = 8192


# Names go into the file of the weights; without one Keras numbers them, and no two files are alike.
ENCODER_NAME: Final = "user_encoder"


class Batch(NamedTuple):
    """Histories cut in two, as pairs; ``users`` number the rows of the batch from 0.

    Input weights of a user have length 1 together, as at inference; ``input_shares`` ``[users]`` is the length that
    they had as a share of the whole history's. ``candidates`` are the items that the softmax is taken over, and
    ``log_inclusion`` the logarithm of the share of the catalogue that they are.
    """

    users: Any  # scalar, the number of rows
    input_users: Any
    input_items: Any
    input_weights: Any
    input_shares: Any
    target_users: Any
    target_items: Any
    target_weights: Any
    candidates: Any
    log_inclusion: Any


class InteractionAutoencoder(ABC):
    """Variables, loss, and what is kept of one kind.

    The score of item i for the code u is ``retrieval[i] @ [u, 1]``; u is ``user_encoder`` of the bag, which
    is the weighted sum of the ``embeddings`` of the history.
    """

    # Whether a code is a weighted sum of what each item of the history contributes, up to a factor of its own.
    linear: ClassVar[bool]
    # What a score is divided by to be a logit, a logarithm of a probability up to what all items share; None where
    # scores are no such thing.
    temperature: ClassVar[float | None] = None
    learning_rate: ClassVar[float] = 2e-3
    # The share of a history that is the input in training is drawn between these. The rest are the targets,
    # or the whole history is.
    input_share: ClassVar[tuple[float, float]] = (0.25, 1.0)
    targets_whole: ClassVar[bool] = False

    def __init__(self, config: InteractionConfig, items: int, seed: int) -> None:
        self.config = config
        self.items = items
        self.seed = seed
        self.user_encoder: Any = self.build_user_encoder(config, seed)

    @staticmethod
    @abstractmethod
    def build_user_encoder(config: InteractionConfig, seed: int) -> Any:
        """Return the Keras model from bags ``[batch, hidden]`` to user codes ``[batch, user_dim]``."""

    @property
    @abstractmethod
    def trainable(self) -> list[Any]:
        """All variables that training changes."""

    @property
    def moving(self) -> list[Any]:
        """What else changes in training: averages, copies."""
        return []

    @abstractmethod
    def loss(self, batch: Batch, seed: Any, progress: Any, group: int) -> Any:
        """Return the mean loss of a user for one of the ``groups``.

        ``seed`` is int32 ``[2]``, ``progress`` how much of the training is done, in [0, 1].
        """

    @property
    @abstractmethod
    def embeddings(self) -> Floats:
        """Input embeddings, float32 ``[items, hidden]``."""

    @property
    @abstractmethod
    def retrieval(self) -> Floats:
        """Retrieval vectors ``[w, b]``, float32 ``[items, user_dim + 1]``."""

    @abstractmethod
    def place(self, rows: Ints, embeddings: Floats, retrieval: Floats) -> None:
        """Let the items ``rows`` begin at ``embeddings`` ``[n, hidden]`` and ``retrieval`` ``[n, user_dim + 1]``.

        What follows from something else, such as a bias from counts, stays.
        """

    @property
    def groups(self) -> list[list[Any]]:
        """The variables that are trained together; most kinds train all at once."""
        return [self.trainable]

    def count(self, owners: Ints) -> None:  # noqa: B027
        """Take note, before the training, of how many histories have each item, int64 ``[items]``."""

    def begin_epoch(self, epoch: int) -> int:  # noqa: ARG002
        """Do what is due before an epoch, and return which of the groups it trains."""
        return 0


def table(items: int, width: int, seed: int, name: str) -> Any:
    """Return a variable float32 ``[items, width]``, initialised as a Dense layer's kernel would be."""
    first = keras.initializers.GlorotUniform(seed=seed)((items, width))
    return tf.Variable(first, name=name)


def dense(width: int, seed: int, name: str, bias: float = 0.0) -> Any:
    """Return a Dense layer."""
    return keras.layers.Dense(
        width,
        kernel_initializer=keras.initializers.GlorotUniform(seed=seed),
        bias_initializer=keras.initializers.Constant(bias),
        name=name,
    )


def bags(embeddings: Any, batch: Batch, kept: Any = None) -> Any:
    """Return the embedding bag of each input, ``[users, hidden]``; see :func:`models.interaction.weighted_bags`.

    ``kept`` is what is left of the inputs, 1 or 0 for each; what is left has length 1 again.
    """
    weights = batch.input_weights
    if kept is not None:
        weights = weights * kept
        squares = tf.math.unsorted_segment_sum(tf.square(weights), batch.input_users, batch.users)
        weights = weights * tf.gather(tf.math.rsqrt(tf.maximum(squares, 1e-12)), batch.input_users)
    rows = tf.gather(embeddings, batch.input_items) * weights[:, None]
    return tf.math.unsorted_segment_sum(rows, batch.input_users, batch.users)


def dropped_out(batch: Batch, rate: float, seed: Any) -> Any:
    """Return 0 for a share ``rate`` of the inputs and 1 for the others."""
    return tf.cast(tf.random.stateless_uniform(tf.shape(batch.input_weights), seed) >= rate, tf.float32)


def negative_log_likelihood(codes: Any, decode: Callable[[Any], tuple[Any, Any]], batch: Batch) -> Any:
    """Return the mean over users of the weighted ``-log p`` of the targets under a softmax over the items.

    Over a sample of candidates the sum of all items is estimated from theirs, and the target is added to it:
    the sampled softmax of Bengio and Senécal 2008 with a uniform proposal.

    Args:
        codes: user codes ``[users, user_dim]``.
        decode: returns vectors ``[n, user_dim]`` and biases ``[n]`` of n items, given as indices. Only what is
            asked for is computed.
        batch: see above.
    """
    vectors, bias = decode(batch.candidates)
    sampled = tf.matmul(codes, vectors, transpose_b=True) + bias
    rest = tf.gather(tf.reduce_logsumexp(sampled, axis=1) - batch.log_inclusion, batch.target_users)
    vectors, bias = decode(batch.target_items)
    found = tf.reduce_sum(tf.gather(codes, batch.target_users) * vectors, axis=1) + bias
    everything = tf.where(batch.log_inclusion < 0, tf.reduce_logsumexp(tf.stack([rest, found]), axis=0), rest)
    total = tf.reduce_sum(batch.target_weights * (everything - found))
    return total / tf.cast(batch.users, tf.float32)


def assign_rows(variable: Any, rows: Ints, values: Floats) -> None:
    """Put ``values`` into some rows of a variable."""
    whole = variable.numpy()
    whole[rows] = values
    variable.assign(whole)


def with_bias(vectors: Any, bias: Any) -> Floats:
    """Return ``[w, b]``."""
    return np.concatenate([vectors.numpy(), bias.numpy()[:, None]], axis=1)
