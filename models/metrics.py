"""Ranking metrics with one relevance level, averaged over the users who have anything to find."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.arrays import Doubles, Ints, Mask


def recall_at_k(ranked: Ints, relevant: Sequence[Ints], k: int) -> float:
    """Return the mean share of each user's relevant items that are among the first ``k``.

    Args:
        ranked: item indices, best first, int64 ``[users, at least k]``; -1 fills short rows.
        relevant: the items to find, for each user. Users without any do not count.
        k: length of the list that is looked at.

    Raises:
        ValueError: shapes do not fit, or no user has a relevant item.
    """
    hits, counts = _hits(ranked, relevant, k)
    return float(np.mean(hits.sum(axis=1) / counts))


def ndcg_at_k(ranked: Ints, relevant: Sequence[Ints], k: int) -> float:
    """Return the mean normalised discounted cumulative gain of the first ``k``; arguments as above.

    A hit at place p (from 1) gains 1 / log2(p + 1); the ideal list has all relevant items first, at most
    ``k`` (Järvelin and Kekäläinen 2002, with binary relevance).
    """
    hits, counts = _hits(ranked, relevant, k)
    discounts: Doubles = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)[np.minimum(counts, k) - 1]
    return float(np.mean(hits @ discounts / ideal))


def _hits(ranked: Ints, relevant: Sequence[Ints], k: int) -> tuple[Mask, Ints]:
    """Return where the first k are relevant, bool ``[users, k]``, and the number of relevant items a user."""
    if ranked.ndim != 2 or ranked.shape[1] < k or len(ranked) != len(relevant):
        raise ValueError(f"{len(relevant)} users need a ranking of shape [users, at least {k}], not {ranked.shape}")
    users = [user for user, items in enumerate(relevant) if len(items)]
    if not users:
        raise ValueError("no user has a relevant item, so there is nothing to measure")
    hits = np.stack([np.isin(ranked[user, :k], relevant[user]) for user in users])
    return hits, np.array([len(np.unique(relevant[user])) for user in users])
