"""The interaction autoencoder: a multinomial variational autoencoder with a linear last layer.

Liang et al. 2018, Variational Autoencoders for Collaborative Filtering (arXiv:1802.05814).

    bag    = sum_i  (weight_i / |weights|) * embedding_i         (the first layer, on the host)
    u      = A tanh(bag) + a                                     (the mean; sampling only in training)
    score  = w_i . u + b_i
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np
import scipy.sparse as sp
from msgspec import Meta

from models.arrays import Doubles, Floats, Ints
from models.runtime import keras

Width = Annotated[int, Meta(ge=1)]


class InteractionConfig(msgspec.Struct, frozen=True):
    """The architecture: ``hidden`` is the width of the embeddings and of the bag, ``user_dim`` of the code."""

    hidden: Width
    user_dim: Width


def build_user_encoder(config: InteractionConfig, seed: int = 0) -> Any:
    """Return the Keras model from bags ``[batch, hidden]`` to user codes ``[batch, user_dim]``."""
    bag = keras.Input((config.hidden,), name="bag")
    mean = keras.layers.Dense(
        config.user_dim, kernel_initializer=keras.initializers.GlorotUniform(seed=seed), name="mean"
    )
    return keras.Model(bag, mean(keras.layers.Activation("tanh", name="tanh")(bag)), name="user_encoder")


def weighted_bags(embeddings: Floats, indptr: Ints, indices: Ints, weights: Floats) -> Floats:
    """Return the embedding bags of histories, float32 ``[u, hidden]``.

    History ``j`` is ``indices[indptr[j]:indptr[j + 1]]`` (rows of ``embeddings`` ``[n, hidden]``) with the
    same range of ``weights``, which are scaled to length 1. An empty history gives zeros. Rows are summed in
    the order of the history, each history by itself.
    """
    wide = np.asarray(weights, np.float64)
    shape = (len(indptr) - 1, len(embeddings))
    squares = sp.csr_array((wide * wide, indices, indptr), shape=shape)
    norms: Doubles = np.sqrt(np.asarray(squares @ np.ones(len(embeddings))))
    norms[norms == 0] = 1
    scaled = (wide / np.repeat(norms, np.diff(indptr))).astype(np.float32)
    bags: Floats = sp.csr_array((scaled, indices, indptr), shape=shape) @ embeddings
    return bags
