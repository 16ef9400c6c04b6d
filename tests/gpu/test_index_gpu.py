"""The same exact answers from FAISS on a GPU. Needs one: `pytest tests/gpu` on such a machine."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from models.index import LatentIndex
from models.index_parts import SealedPart

pytestmark = pytest.mark.skipif(not faiss.get_num_gpus(), reason="FAISS sees no GPU: the GPU index is NOT TESTED here")


@pytest.mark.parametrize("k", [10, 1000, 3000])
def test_gpu_equals_brute_force(k: int) -> None:
    """3,000 is more than a GPU selects, so the host answers."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20_000, 65)).astype(np.float32)
    queries = rng.normal(size=(33, 65)).astype(np.float32)
    index = LatentIndex(65, min_delta=1)
    index.upsert(np.arange(20_000), vectors)
    index.wait_sealed()
    index.remove(np.arange(0, 20_000, 7))
    exact = queries.astype(np.float64) @ vectors.astype(np.float64).T
    exact[:, ::7] = -np.inf
    scores, slots = index.search(queries, k)
    expected = np.argsort(-exact.astype(np.float32), axis=1, kind="stable")[:, :k]
    assert np.array_equal(slots, expected)
    np.testing.assert_allclose(scores, np.take_along_axis(exact, expected, axis=1), rtol=1e-6)


def test_sealed_part_lies_on_the_gpu() -> None:
    assert SealedPart(np.ones((10, 4), np.float32)).on_gpu
