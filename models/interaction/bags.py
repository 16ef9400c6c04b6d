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
    lengths = np.diff(indptr)
    of = np.repeat(np.arange(len(lengths)), lengths)
    norms: Doubles = np.sqrt(np.bincount(of, wide * wide, len(lengths)))
    norms[norms == 0] = 1
    scaled = (wide / norms[of]).astype(np.float32)
    bags: Floats = sp.csr_array((scaled, indices, indptr), shape=(len(lengths), len(embeddings))) @ embeddings
    return bags
