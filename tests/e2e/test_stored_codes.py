"""Each kind of autoencoder through the workers: what Redis holds decodes to what the manifest says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import redis

from models.arrays import Floats
from models.registry import Registry
from models.splits import split_items
from models.training import TrainingData, train
from schemas.keys import Keys
from schemas.model_settings import ContentSettings, ModelSettings
from schemas.settings import Settings
from tests.e2e.conftest import Progress, publish, wait_until
from tests.processes import worker_process
from workers import connections
from workers.cli.stored_items import StoredItems
from workers.datasets import DatasetMissing, fashion

COUNT = 1200
KINDS = {
    "vanilla": {"latent_dim": 16, "codec": "float16"},
    "overcomplete": {"latent_dim": 900, "penalty": "contractive"},
    "sparse": {"latent_dim": 64, "penalty": "top_k", "active": 8, "codec": "pairs"},
    "denoising": {"network": "residual", "codec": "residual", "code_bytes": 8, "codec_epochs": 3},
    "variational": {"latent_dim": 8, "loss": "binary", "codec": "product", "code_bytes": 4},
    "convolutional": {"kind": "variational", "network": "convolutional", "hidden": [4, 8], "latent_dim": 8},
}


@pytest.fixture(scope="module")
def clothes() -> fashion.Fashion:
    try:
        return fashion.load()
    except DatasetMissing as error:
        pytest.skip(f"NOT TESTED: kinds through the workers. {error}")


@pytest.mark.parametrize("name", KINDS)
def test_stored_codes_decode_to_what_the_manifest_says(
    name: str, clothes: fashion.Fashion, settings: Settings, redis_client: redis.Redis, tmp_path: Path
) -> None:
    changes = {"kind": name, "hidden": [64], "epochs": 3, **KINDS[name]}
    chosen = ModelSettings(registry=tmp_path / "models", content=ContentSettings.model_validate(changes))
    settings = settings.model_copy(update={"model": chosen})
    names = [clothes.item_id(number) for number in range(COUNT)]
    pixels: Floats = clothes.images[:COUNT].reshape(COUNT, -1).astype(np.float32) / np.float32(255)
    data = TrainingData(names, pixels, np.full(COUNT, True), (28, 28), True, None, {})
    bundle_path = train(data, chosen, "kinds", lambda *_: None).save(tmp_path / "models")
    version = bundle_path.name
    connections.ensure_topics(settings)
    keys = Keys(settings.redis.prefix)
    redis_client.hset(keys.model, "version", version)
    progress = Progress(settings, redis_client)
    with worker_process(settings, "encoder"):
        publish(settings, [clothes.event(number) for number in range(COUNT)])
        wait_until(lambda: progress.done(settings.kafka.items_topic), "all images encoded")
    progress.close()
    bundle = Registry(tmp_path / "models").load(version)
    assert bundle.content is not None
    stored, tested = StoredItems(redis_client, keys), split_items(names).test
    found = [stored.find(names[number]) for number in tested]
    codes = np.frombuffer(b"".join(item.record.code for item in found if item), np.uint8).reshape(len(tested), -1)
    errors = np.mean((bundle.content.reconstruct(codes) - pixels[tested]) ** 2, axis=1)
    assert np.mean(errors) == pytest.approx(bundle.manifest.metrics["content_test_error"], rel=0.01)
    # Of each single item the record says the same, within what its 12 bits can.
    assert [item.record.error for item in found if item] == pytest.approx(list(errors), rel=0.01)
