"""What the bridge learns to predict of an item: half the network's own vector, half one fitted by least squares.

The network's vector of an item with few interactions is mostly where it began and what the softmax pushed it to,
and of that a new item's content says nothing. The least-squares vector

    [w, b] = argmin sum_u (u . w + b - x_u)^2 + ridge |w|^2        (x_u: what u gives to the item, 0 if nothing)

is linear in the interactions: what the bridge predicts from it is what users give to items alike, as far as their
codes can tell. On MovieLens-100K (a tenth of the items hidden, seeds from 100 on) NDCG@20 of the hidden items was

    network's vector    least squares    half and half    neighbours by content
          .306               .365             .368                .306             Mult-VAE, 12 seeds
          .292               .324             .331                .300             contrastive, 4 seeds
          .374               .373             .382                .308             hybrid, 8 seeds
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import linalg

from models.arrays import Doubles, Floats
from models.histories import Histories

# Times the mean variance of a code's dimensions. NDCG@20 as above (Mult-VAE, half and half) was .368 with 0.01, .365
# with 0.1 and .350 with 1; that of the hybrid .382, .375 and .374.
_RIDGE: Final = 0.01
_TINY: Final = 1e-12


def retrieval_targets(user_codes: Floats, histories: Histories, retrieval: Floats) -> Floats:
    """Return the retrieval vectors ``[w, b]`` that the bridge is to predict, float32 ``[n, dim + 1]``.

    The network's scores are logits, those of least squares are amounts, and items of both sorts stand in one list.
    So the latter get the network's mean vector, and scores that spread about those of the mean as far as its own do.
    A regression on the network's scores instead would shrink them, since the two correlate by .46 (Mult-VAE) or .79
    (hybrid). Of the hidden items that people watched in the last fifth of their history, the first 50 of the whole
    catalogue then had .5 % (hybrid: 6.1 %), with equal spread 6.8 % (8.6 %), with the network's vectors alone 4.5 %
    (7.1 %); NDCG@20 of the whole lists was .229 (.230), .223 (.228) and .227 (.228).

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
    targets: Doubles = mean + (own_offsets + scale * offsets) / 2
    return targets.astype(np.float32)


def _squares(vectors: Doubles, gram: Doubles) -> float:
    """Return the sum of all squared scores of the vectors, with no matrix of users and items."""
    return float(np.sum((vectors @ gram) * vectors))


def _least_squares(codes: Doubles, histories: Histories, items: int) -> Doubles:
    """Return ``[w, b]``, ``[items, dim + 1]``; the intercept b is not penalised."""
    amounts = histories.sparse(items).astype(np.float64)
    # Nobody counts for more by the scale of the weights: where all are alike, each is 1.
    amounts.data = histories.unit_weights() * np.sqrt(histories.lengths[histories.users])
    mean = codes.mean(axis=0)
    centred = codes - mean
    gram = centred.T @ centred
    gram[np.diag_indices_from(gram)] += max(_RIDGE * np.trace(gram) / len(gram), _TINY)
    vectors: Doubles = linalg.solve(gram, (amounts.T @ centred).T, assume_a="pos").T
    bias = np.asarray(amounts.mean(axis=0)).ravel() - vectors @ mean
    return np.concatenate([vectors, bias[:, None]], axis=1)
