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


@pytest.mark.parametrize("matching", ["ten", "half", "all but a few", "the worst half"])
def test_filtered_search_on_a_gpu_equals_brute_force(matching: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAISS ignores an IDSelector on a GPU, so the index must not lean on one."""
    monkeypatch.setattr("models.index._FEW", 5_000)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60_000, 65)).astype(np.float32)
    queries = rng.normal(size=(33, 65)).astype(np.float32)
    index = LatentIndex(65, min_delta=1)
    index.upsert(np.arange(60_000), vectors)
    index.wait_sealed()
    index.remove(np.arange(0, 60_000, 7))
    exact = queries.astype(np.float64) @ vectors.astype(np.float64).T
    shuffled = rng.permutation(60_000)
    chosen = {
        "ten": shuffled[:10],
        "half": shuffled[:30_000],
        "all but a few": shuffled[10:],
        "the worst half": np.argsort(exact[0])[:30_000],
    }[matching]
    allowed = np.zeros(60_000, bool)
    allowed[chosen] = True
    exact[:, ::7] = -np.inf
    exact[:, ~allowed] = -np.inf
    for k in (5, 50, 500):
        slots = index.search(queries, k, None, allowed)[1]
        expected = np.argsort(-exact.astype(np.float32), axis=1, kind="stable")[:, :k]
        expected[np.isneginf(np.take_along_axis(exact, expected, axis=1))] = -1
        assert np.array_equal(slots, expected)


def test_sealed_part_lies_on_the_gpu() -> None:
    assert SealedPart(4, [(np.ones((10, 4), np.float32), np.arange(10))]).on_gpu
