from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.arrays import Floats
from models.codecs import CodecName
from models.codecs.residual import ResidualCodec
from models.compression_baselines import PcaResidual
from models.content import ContentModel
from models.content_training import TrainedContent, train_content
from models.splits import Split, split_items
from schemas.model_settings import ContentSettings

RESIDUAL = ContentSettings(
    network="residual", latent_dim=12, hidden=[64, 64], epochs=0, codec="residual", code_bytes=2, codec_epochs=25
)


def curved(count: int = 4000, seed: int = 0) -> Floats:
    """Rows of 24 features on a torus of 3 dimensions, of which each takes 4 linear ones."""
    angles = np.random.default_rng(seed).uniform(0, 2 * np.pi, (3, count))
    waves = np.concatenate([wave(turns * angles) for turns in (1, 2) for wave in (np.cos, np.sin)])
    mixing = np.random.default_rng(42).normal(size=(12, 24))
    return np.asarray(waves.T @ mixing, np.float32)


def run(settings: ContentSettings, features: Floats, split: Split) -> TrainedContent:
    return train_content(features, split, (features.shape[1],), settings, seed=0, report=lambda _: lambda *_: None)


@pytest.fixture(scope="module")
def split() -> Split:
    return split_items([f"item-{number}" for number in range(4000)])


def test_network_and_codec_learn_together(split: Split) -> None:
    features = curved()
    joint = run(RESIDUAL, features, split)
    assert set(joint.curves) == {"codec", "decoder"}
    linear = PcaResidual(features[split.training], code_bytes=2, components=12)
    test = features[split.test]
    lost = float(np.mean((linear.decode(linear.encode(test)) - test) ** 2))
    assert joint.metrics["content_test_error"] < 0.95 * lost


@pytest.mark.parametrize("codec", ["product", "pairs"])
def test_the_decoder_learns_what_the_codec_gives_back(split: Split, codec: CodecName) -> None:
    settings = ContentSettings(
        active=2, latent_dim=6, hidden=[64], epochs=20, codec=codec, code_bytes=2, tuning_epochs=0
    )
    features = curved()
    plain = run(settings, features, split)
    tuned = run(settings.model_copy(update={"tuning_epochs": 8}), features, split)
    assert tuned.metrics["content_test_error"] < 0.99 * plain.metrics["content_test_error"]
    assert tuned.model.codes(features).tobytes() == plain.model.codes(features).tobytes()


def test_codes_that_are_compared_by_decoding_them_are_better(split: Split) -> None:
    features = curved()
    model = run(RESIDUAL.model_copy(update={"codec_epochs": 3}), features, split).model
    assert isinstance(model.codec, ResidualCodec)
    nearest = ContentModel(model.autoencoder, model.scaling, ResidualCodec(model.codec.codebooks))
    test = features[split.test]
    # As the network puts it out, a row is never worse than with the nearest code: that is among the candidates.
    wanted = model.scaling.scaled(test)
    outputs = (model.autoencoder.decoder(which.latents(which.codes(test))).numpy() for which in (model, nearest))
    errors, nearest_errors = (np.mean((output - wanted) ** 2, axis=1) for output in outputs)
    assert (errors <= nearest_errors + 1e-6).all()
    assert np.mean(errors < nearest_errors - 1e-6) > 0.02
    alone = [model.codes(test[number : number + 1]) for number in range(5)]
    assert np.concatenate(alone).tobytes() == model.codes(test)[:5].tobytes()


def test_what_the_manifest_says_of_the_test_items_is_what_their_codes_decode_to(split: Split) -> None:
    features = curved()
    trained = run(RESIDUAL.model_copy(update={"codec_epochs": 3}), features, split)
    test = features[split.test]
    decoded = trained.model.reconstruct(trained.model.encode(test).codes)
    assert np.mean((decoded - test) ** 2) == pytest.approx(trained.metrics["content_test_error"], rel=1e-5)


def test_split_depends_on_the_ids_alone() -> None:
    names = [f"item-{number}" for number in range(1000)]
    split = split_items(names)
    assert [len(part) for part in split] == [850, 100, 50]
    assert np.array_equal(np.sort(np.concatenate(split)), np.arange(1000))
    reversed_split = split_items(names[::-1])
    for part, turned in zip(split, reversed_split, strict=True):
        assert {names[row] for row in part} == {names[::-1][row] for row in turned}
    with pytest.raises(ValueError, match="cannot be split"):
        split_items(["a", "b"])


def test_nothing_is_left_of_a_finished_training(tmp_path: Path) -> None:
    from models.training import train
    from tests.models import boards

    data = boards.both(interactions=False)
    train(data, boards.SETTINGS, "x", unfinished=tmp_path)
    assert list(tmp_path.iterdir()) == []
