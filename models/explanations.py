"""Which items of a history a recommendation is due to, and how much.

The score of item i is ``w_i . u + b_i``, and the bag is ``sum_h c_h e_h`` over the history, where ``c`` are the weights
scaled to length 1.

- A space is *linear* where the code is the bag times a factor, ``u = f bag``. The factor may depend on the history
  (as a norm does); for the history at hand it is a number. Then item h contributes ``f c_h (e_h . w_i)``, and the
  contributions and ``b_i`` add up to the score.
- In other spaces item h contributes what the score loses without it: the score of the history less that of the
  history without h (leave one out). These do not add up to anything.
"""

from __future__ import annotations

import numpy as np

from models.arrays import Doubles, Floats
from models.space import LatentSpace


def contributions(space: LatentSpace, embeddings: Floats, weights: Floats, retrieval: Floats) -> Doubles:
    """Return what each item of one history adds to each score, float64 ``[history, items]``.

    Args:
        space: where both lie.
        embeddings: of the history, float32 ``[history, embedding_dim]``.
        weights: of the history, positive, float32 ``[history]``.
        retrieval: of the recommended items, float32 ``[items, dim + 1]``.
    """
    wide, vectors = embeddings.astype(np.float64), retrieval[:, :-1].astype(np.float64)
    if not len(wide):
        return np.zeros((0, len(vectors)))
    scaled = weights.astype(np.float64) / weights.max()
    shares = scaled / np.linalg.norm(scaled)
    rows = shares[:, None] * wide
    bag = rows.sum(axis=0)
    if space.linear:
        code = space.user_codes(bag[None].astype(np.float32))[0].astype(np.float64)
        length = float(bag @ bag)
        factor = float(code @ bag) / length if length else 0.0
        added: Doubles = factor * (rows @ vectors.T)
        return added
    lengths = np.sqrt(_all_but_each((shares * shares)[:, None]))
    lengths[lengths == 0] = 1  # Nothing else is in the history: the bag of an empty one is 0.
    bags = np.vstack([bag, _all_but_each(rows) / lengths])
    codes = space.user_codes(bags.astype(np.float32)).astype(np.float64)
    lost: Doubles = (codes[0] - codes[1:]) @ vectors.T
    return lost


def _all_but_each(rows: Doubles) -> Doubles:
    """Return the sum of all rows but row h, for each h; by adding only, so that small rows are not lost."""
    before, after = np.zeros_like(rows), np.zeros_like(rows)
    np.cumsum(rows[:-1], axis=0, out=before[1:])
    after[:-1] = np.cumsum(rows[:0:-1], axis=0)[::-1]
    total: Doubles = before + after
    return total
