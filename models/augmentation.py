"""More training images than there are: the same ones, moved a little."""

from __future__ import annotations

import numpy as np

from models.arrays import Floats


def shifted(rows: Floats, shape: tuple[int, ...], share: float, draws: np.random.Generator) -> Floats:
    """Return images float32 ``[n, input_dim]``, a ``share`` of them moved by up to a pixel each way.

    The border that comes into view repeats the one that was there. Rows of one dimension have no
    neighbours to move to: they are returned as they are, as with a share of 0.
    """
    if len(shape) < 2 or share == 0:
        return rows
    pictures = rows.reshape(len(rows), *shape)
    framed = np.pad(pictures, ((0, 0), (1, 1), (1, 1)) + ((0, 0),) * (len(shape) - 2), mode="edge")
    height, width = shape[:2]
    moved = draws.random(len(rows)) < share
    corners = np.where(moved, draws.integers(0, 9, len(rows)), 4)  # 4 is the middle: not moved
    result = np.empty_like(pictures)
    for corner in range(9):
        chosen = corners == corner
        down, right = divmod(corner, 3)
        result[chosen] = framed[chosen, down : down + height, right : right + width]
    return result.reshape(rows.shape)
