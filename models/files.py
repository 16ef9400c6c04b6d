"""Files of a bundle: arrays as ``.npz`` and network weights as Keras ``.weights.h5``. No pickle in either.

Networks are built by the code here and only their weights are read, so that a file cannot bring code or
layers of its own. Saving the same content gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays."""
    np.savez(path, allow_pickle=False, **arrays)


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of :func:`save_arrays`.

    Raises:
        ValueError: the file holds objects instead of plain arrays.
    """
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored.items())


def save_weights(path: Path, model: Any) -> None:
    """Write the weights of a Keras model."""
    model.save_weights(path)


def load_weights(path: Path, model: Any) -> None:
    """Read weights into a Keras model of the same architecture.

    Raises:
        ValueError: they are of another architecture.
    """
    model.load_weights(path)
