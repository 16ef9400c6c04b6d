"""Array types of this room, and the one check that every entry point makes."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float32]
Doubles: TypeAlias = NDArray[np.float64]
Bytes: TypeAlias = NDArray[np.uint8]
Ints: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]

# Of a catalogue of millions the squares in float64 would take more memory than all else.
_ROWS_AT_A_TIME: Final = 1 << 14


def float_matrix(values: ArrayLike, width: int, name: str) -> Floats:
    """Return ``values`` as contiguous float32 ``[rows, width]``.

    Raises:
        ValueError: the shape is another one, or a value is NaN or infinite. ``name`` is in the message.
    """
    matrix = np.ascontiguousarray(values, np.float32)
    if matrix.ndim != 2 or matrix.shape[1] != width:
        raise ValueError(f"{name} must have the shape [rows, {width}], not {list(matrix.shape)}")
    if not np.isfinite(matrix).all():
        row = int(np.flatnonzero(~np.isfinite(matrix).all(axis=1))[0])
        raise ValueError(f"{name} has NaN or an infinite value in row {row}")
    return matrix


def row_norms(matrix: Floats) -> Floats:
    """Return the Euclidean length of each row, ``[rows]``; a row's result does not depend on the others."""
    norms = np.empty(len(matrix), np.float32)
    for start in range(0, len(matrix), _ROWS_AT_A_TIME):
        wide = matrix[start : start + _ROWS_AT_A_TIME].astype(np.float64)
        norms[start : start + len(wide)] = np.sqrt(np.add.reduce(wide * wide, axis=1))
    return norms


def unit_rows(matrix: Floats) -> Floats:
    """Return the rows scaled to length 1; a row of zeros stays."""
    norms = row_norms(matrix)
    norms[norms == 0] = 1
    return matrix / norms[:, None]
