"""The first layer of every interaction autoencoder: an embedding bag over the history, on the host."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from models.arrays import Doubles, Floats, Ints


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
