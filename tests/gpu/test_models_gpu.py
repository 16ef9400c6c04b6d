"""The same codes and losses from TensorFlow on a GPU. Needs one: `pytest tests/gpu` on such a machine."""

from __future__ import annotations

import numpy as np
import pytest

from models.content import ContentModel
from models.runtime import tf
from models.training import Trained, train
from tests.models import boards

pytestmark = pytest.mark.skipif(
    not tf.config.list_physical_devices("GPU"), reason="TensorFlow sees no GPU: encoding on one is NOT TESTED here"
)


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(boards.both(), boards.SETTINGS, "gpu")


def on_the_host(model: ContentModel, tmp_path_factory: pytest.TempPathFactory) -> ContentModel:
    """The same model, compiled for the host."""
    directory = tmp_path_factory.mktemp("model")
    model.save(directory)
    with tf.device("/CPU:0"):
        return ContentModel.load(directory, model.config, model.codec.name, detects=model.detector is not None)


def test_a_gpu_trains_as_well_as_a_host(trained: Trained) -> None:
    assert trained.parts.content is not None
    features = boards.colours(300, seed=9)
    _, errors, _ = trained.parts.content.encode(features)
    assert errors.mean() < 0.05 < np.var(features, axis=0).mean()


def test_encoders_with_and_without_a_gpu_agree(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> None:
    """They may work on one topic together: what one wrote the other must be able to stand behind.

    Products are summed in another order, so a value between two codes may fall to either: seldom, and never further.
    """
    model = trained.parts.content
    assert model is not None
    host = on_the_host(model, tmp_path_factory)
    features = np.random.default_rng(0).normal(size=(20_000, 6)).astype(np.float32)
    ours, theirs = model.encode(features), host.encode(features)
    differ = (ours.codes != theirs.codes).any(axis=1)
    assert differ.mean() < 1e-3
    np.testing.assert_allclose(ours.errors[~differ], theirs.errors[~differ], rtol=1e-3, atol=1e-5)


def test_a_row_does_not_depend_on_its_company_or_its_place(trained: Trained) -> None:
    model = trained.parts.content
    assert model is not None
    features = np.random.default_rng(0).normal(size=(10_000, 6)).astype(np.float32)
    codes, errors, _ = model.encode(features)
    order = np.random.default_rng(1).permutation(len(features))
    for rows in (order, order[:3], order[300:5_000]):
        own_codes, own_errors, _ = model.encode(features[rows])
        assert own_codes.tobytes() == codes[rows].tobytes()
        assert own_errors.tobytes() == errors[rows].tobytes()


def test_tensorflow_leaves_memory_to_faiss(trained: Trained) -> None:
    """Without growth it would have taken nearly all at its first use."""
    assert trained.parts.content is not None
    trained.parts.content.encode(boards.colours(100))
    assert tf.config.experimental.get_memory_growth(tf.config.list_physical_devices("GPU")[0])
    import faiss

    resources = faiss.StandardGpuResources()
    index = faiss.GpuIndexFlatIP(resources, 64)
    index.add(np.zeros((1_000_000, 64), np.float32))
    assert index.ntotal == 1_000_000
