"""Which items rise: how far their recent weight is above what their longer one would predict.

The measure is the log-likelihood ratio of Dunning 1993, Accurate Methods for the Statistics of Surprise and
Coincidence (Computational Linguistics 19), by which words are found that are more frequent in one text than in
another: ``S ln(S / E) - (S - E)`` for a recent weight S where E was expected. What is popular day by day has S = E
and scores 0, however popular it is; and a single interaction with an item that is new scores little.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.arrays import Doubles

# A smaller ln(S / E) is rounding.
_LEAST_LIFT: Final = 1e-6


def rising(recent: Doubles, longer: Doubles, steady: float) -> Doubles:
    """Return log2 of the score of each item, float64 ``[n]``; -inf where it does not rise.

    E is the longer weight times ``steady``, or times the share that the recent weights have of the longer ones over
    all items, where that is less: after a quiet time everything has faded, and only the rest of it counts. As long as
    the records are no longer than the recent time, all items rise, in the order of their weight.

    Args:
        recent: log2 of the weights decayed with the shorter half-life, float64 ``[n]``.
        longer: with the longer half-life, at the same time; what is less than the recent one is raised to it.
        steady: recent by longer weight of what always has the same rate, which is the ratio of the half-lives.
    """
    if not len(recent):
        return np.empty(0)
    longer = np.maximum(recent, longer)
    share = min(float(np.log2(steady)), float(np.logaddexp2.reduce(recent) - np.logaddexp2.reduce(longer)))
    lift = (recent - longer - share) * np.log(2)  # ln(S / E)
    scores = np.full(len(recent), -np.inf)
    up = lift > _LEAST_LIFT
    # S (ln(S/E) - 1 + E/S), where the bracket is about lift^2 / 2 for a small lift.
    scores[up] = recent[up] + np.log2(lift[up] + np.expm1(-lift[up]))
    return scores
