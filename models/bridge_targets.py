"""What the bridge learns to predict of an item: a retrieval vector fitted by least squares, and a bit of the network's.

The network's vector of an item with few interactions is mostly where it began and what the softmax pushed it to,
and of that a new item's content says nothing. The least-squares vector

    [w, b] = argmin sum_u (u . w + b - x_u)^2 + ridge |w|^2        (x_u: the item's part of the history of u)

is linear in the interactions: what the bridge predicts from it is what users give to items alike, as far as their
codes can tell. On MovieLens-100K (a tenth of the items hidden, seeds from 100 on) NDCG@20 of the hidden items was

    network's    least squares    both    neighbours by content
      .306           .368         .370           .306             Mult-VAE, 12 seeds
      .292           .333         .336           .300             contrastive, 4 seeds
      .374           .375         .379           .308             hybrid, 8 seeds
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import linalg

from models.arrays import Doubles, Floats
from models.histories import Histories

# Of the network's vector in the target.
_OWN_SHARE: Final = 0.25
# Times the mean variance of a code's dimensions. NDCG@20 as above was .370 with 0.01, .367 with 0.1 and .357 with 1
# (Mult-VAE); .379, .372 and .375 (hybrid).
_RIDGE: Final = 0.01
_TINY: Final = 1e-12


def retrieval_targets(user_codes: Floats, histories: Histories, retrieval: Floats) -> Floats:
    """Return the retrieval vectors ``[w, b]`` that the bridge is to predict, float32 ``[n, dim + 1]``.

    The network's scores are logits, those of least squares are parts of a history, and items of both sorts stand in
    one list. So the latter get the network's mean vector, and are scaled so that their scores spread about those of
    the mean as far as the network's do. The factor of a regression on the network's scores is smaller, since the two
    correlate by .48 only (Mult-VAE): then the first 50 of the whole catalogue had .4 % of the hidden items that people
    watched in the last fifth of their history; with equal spread 7.2 %, with the network's vectors alone 4.5 %.

    Args:
        user_codes: of the users that the network was trained on, float32 ``[u, dim]``.
        histories: theirs, over n items.
        retrieval: the network's retrieval vectors ``[w, b]``, float32 ``[n, dim + 1]``.
    """
    codes, own = user_codes.astype(np.float64), retrieval.astype(np.float64)
    fitted = _least_squares(codes, histories, len(own))
    mean = own.mean(axis=0)
    own_offsets, offsets = own - mean, fitted - fitted.mean(axis=0)
    with_one = np.pad(codes, ((0, 0), (0, 1)), constant_values=1)
    gram = with_one.T @ with_one
    scale = np.sqrt(_squares(own_offsets, gram) / max(_squares(offsets, gram), _TINY))
    targets: Doubles = mean + _OWN_SHARE * own_offsets + (1 - _OWN_SHARE) * scale * offsets
    return targets.astype(np.float32)


def _squares(vectors: Doubles, gram: Doubles) -> float:
    """Return the sum of all squared scores of the vectors, with no matrix of users and items."""
    return float(np.sum((vectors @ gram) * vectors))


def _least_squares(codes: Doubles, histories: Histories, items: int) -> Doubles:
    """Return ``[w, b]``, ``[items, dim + 1]``; the intercept b is not penalised."""
    parts = histories.sparse(items).astype(np.float64)
    # As in the input of the network. Were each interaction as much as any other, those with long histories would give
    # high scores to whatever is like what people have, and new items would be listed for few but them.
    parts.data = histories.unit_weights().astype(np.float64)
    mean = codes.mean(axis=0)
    centred = codes - mean
    gram = centred.T @ centred
    gram[np.diag_indices_from(gram)] += max(_RIDGE * np.trace(gram) / len(gram), _TINY)
    vectors: Doubles = linalg.solve(gram, (parts.T @ centred).T, assume_a="pos").T
    bias = np.asarray(parts.mean(axis=0)).ravel() - vectors @ mean
    return np.concatenate([vectors, bias[:, None]], axis=1)
