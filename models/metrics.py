"""Ranking metrics with one relevance level, averaged over the users who have anything to find.

Everywhere ``ranked`` are item indices, best first, int64 ``[users, at least k]``, where -1 fills short rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.arrays import Doubles, Ints, Mask


def recall_at_k(ranked: Ints, relevant: Sequence[Ints], k: int, *, of_at_most_k: bool = False) -> float:
    """Return the mean share of each user's relevant items that are among the first ``k``.

    Args:
        ranked: see above.
        relevant: the items to find, for each user. Users without any do not count.
        k: length of the list that is looked at.
        of_at_most_k: whether a list that is full of relevant items counts as 1 however many there are: Liang et
            al. 2018 divide by the smaller of k and their number, most others by their number.

    Raises:
        ValueError: shapes do not fit, or no user has a relevant item.
    """
    hits, counts = _hits(ranked, relevant, k)
    return float(np.mean(hits.sum(axis=1) / (np.minimum(counts, k) if of_at_most_k else counts)))


def ndcg_at_k(ranked: Ints, relevant: Sequence[Ints], k: int) -> float:
    """Return the mean normalised discounted cumulative gain of the first ``k``; arguments as above.

    A hit at place p (from 1) gains 1 / log2(p + 1); the ideal list has all relevant items first, at most
    ``k`` (Järvelin and Kekäläinen 2002, with binary relevance).
    """
    hits, counts = _hits(ranked, relevant, k)
    discounts: Doubles = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)[np.minimum(counts, k) - 1]
    return float(np.mean(hits @ discounts / ideal))


def coverage_at_k(ranked: Ints, items: int, k: int) -> float:
    """Return the share of a catalogue of ``items`` that stands in somebody's first ``k``."""
    listed = np.unique(ranked[:, :k])
    return float(np.count_nonzero(listed >= 0) / items)


def novelty_at_k(ranked: Ints, owners: Ints, users: int, k: int) -> float:
    """Return the mean of ``-log2`` of the share of users who have an item, over the first ``k`` of all lists.

    The mean self-information of Zhou et al. 2010. ``owners`` is how many of the ``users`` have each item;
    one that nobody has counts as if half a user had.
    """
    listed = ranked[:, :k]
    shares: Doubles = np.maximum(owners, 0.5) / users
    return float(np.mean(-np.log2(shares[listed[listed >= 0]])))


def _hits(ranked: Ints, relevant: Sequence[Ints], k: int) -> tuple[Mask, Ints]:
    """Return where the first k are relevant, bool ``[users, k]``, and the number of relevant items a user."""
    if ranked.ndim != 2 or ranked.shape[1] < k or len(ranked) != len(relevant):
        raise ValueError(f"{len(relevant)} users need a ranking of shape [users, at least {k}], not {ranked.shape}")
    lengths = np.fromiter((len(items) for items in relevant), np.int64, len(relevant))
    users = np.flatnonzero(lengths)
    if not len(users):
        raise ValueError("no user has a relevant item, so there is nothing to measure")
    wanted: Ints = np.concatenate([relevant[user] for user in users.tolist()])
    width = int(max(wanted.max(), ranked.max())) + 1
    # A number for each pair of user and item, so that one look-up does for all users.
    pairs = np.unique(np.repeat(np.arange(len(users)), lengths[users]) * width + wanted)
    listed = ranked[users, :k]
    keys = np.arange(len(users))[:, None] * width + listed
    hits = np.isin(keys, pairs) & (listed >= 0)
    return hits, np.bincount(pairs // width, minlength=len(users))
