"""What a worker makes of drift, with batches as it decodes them and a real Redis."""

from __future__ import annotations

import time

import msgspec
import numpy as np
import pytest
import redis
from structlog.testing import capture_logs

from models.bundle import Bundle
from models.drift import Bins, Latents, Popularity, Snapshot
from schemas.keys import Keys
from schemas.settings import DriftSettings, Settings
from workers import metrics
from workers.bench.load import random_bundle
from workers.decoding import Decoded, ItemChange
from workers.delivery import Position
from workers.drift import SAMPLE, InteractionDrift, ItemDrift
from workers.last_training import LastTraining, write_last
from workers.source import Owned

WIDTH = 32


def features(seed: int, count: int, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).standard_normal((count, WIDTH))).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> Bundle:
    """A model of standard normal features, which read 1,000 events of partition 0 when it was trained."""
    bundle = random_bundle("interactions")
    content = bundle.content
    assert content is not None
    codes, errors, _ = content.encode(features(0, 5_000))
    items = np.random.default_rng(0).integers(0, len(bundle.space.vocabulary) // 2, 20_000)
    snapshot = Snapshot(
        700,
        30,
        Bins.fit(errors[:, None]),
        Latents.fit(content.latents(codes)),
        Popularity.fit(items, np.zeros(len(items)), len(bundle.space.vocabulary)),
    )
    return Bundle(bundle.manifest, content, bundle.space, bundle.user_codec, snapshot)


@pytest.fixture
def drifting(settings: Settings) -> Settings:
    return settings.model_copy(update={"drift": DriftSettings(events=1_000)})


def trained_to(model: Bundle, offsets: dict[str, dict[int, int]]) -> Bundle:
    manifest = msgspec.structs.replace(model.manifest, offsets=offsets)
    return Bundle(manifest, model.content, model.space, model.user_codec, model.snapshot)


def owned(partition: int = 0, ids: int = 0) -> Owned:
    return Owned(partition, "", Position(1, 0, ids, 1, 0))


def index(of: str) -> float | None:
    (family,) = metrics.DRIFT.collect()
    return next((sample.value for sample in family.samples if sample.labels["of"] == of), None)


def observe(drift: ItemDrift, model: Bundle, rows: np.ndarray, following: int = 1_000, partition: int = 0) -> None:
    """Have a batch of items with features ``rows`` observed, and one without any before them."""
    assert model.content is not None
    changes = [ItemChange(str(row), None, None) for row in range(len(rows) + 1)]
    part = Decoded(owned(partition), following, len(changes), changes)
    drift.observe([part], [changes], list(range(1, len(changes))), model.content.encode(rows))
    drift.publish([owned(0, 70), owned(1, 80)])


def due(client: redis.Redis, settings: Settings) -> str | None:
    reason = client.get(Keys(settings.redis.prefix).training_due)
    return reason.decode() if isinstance(reason, bytes) else None


def test_usual_items_change_nothing(model: Bundle, drifting: Settings, redis_client: redis.Redis) -> None:
    drift = ItemDrift(drifting, redis_client, model)
    for seed in range(1, 30):
        observe(drift, model, features(seed, 200))
    assert (index("latent") or 1) < 0.1
    assert (index("reconstruction_error") or 1) < 0.1
    assert due(redis_client, drifting) is None
    (stored,) = metrics.STORED.collect()
    assert {"of": "items"} in [sample.labels for sample in stored.samples if sample.value == 150]
    (trained,) = metrics.TRAINED.collect()
    assert [(sample.labels["of"], sample.value) for sample in trained.samples] == [("items", 700)]


def test_other_items_ask_for_a_training_once(model: Bundle, drifting: Settings, redis_client: redis.Redis) -> None:
    drift = ItemDrift(drifting, redis_client, model)
    with capture_logs() as said:
        for batch in range(5):
            assert due(redis_client, drifting) is None
            observe(drift, model, features(batch, 200, scale=3))
        reason = due(redis_client, drifting)
        assert reason is not None
        assert model.version in reason
        for batch in range(20):
            observe(drift, model, features(batch, 200, scale=3))
    assert (index("latent") or 0) > 1
    assert (index("reconstruction_error") or 0) > 1
    assert [entry["event"] for entry in said] == ["training_due"]
    assert due(redis_client, drifting) == reason
    # The trainer has begun: it is asked again after as many events, but not soon after a training.
    keys = Keys(drifting.redis.prefix)
    redis_client.delete(keys.training_due)
    for ended_ago, asked in ((3500.0, False), (3700.0, True)):
        write_last(redis_client, keys, LastTraining(time.time() - ended_ago, "refused", "v2", "", {}))
        for batch in range(6):
            observe(drift, model, features(batch, 200, scale=3))
        assert (due(redis_client, drifting) is not None) is asked


def test_items_that_are_reproduced_better_are_no_reason(
    model: Bundle, drifting: Settings, redis_client: redis.Redis
) -> None:
    assert model.snapshot is not None
    assert model.snapshot.errors is not None
    only_errors = Snapshot(700, 30, model.snapshot.errors)
    bundle = Bundle(model.manifest, model.content, model.space, model.user_codec, only_errors)
    drift = ItemDrift(drifting, redis_client, bundle)
    for batch in range(10):
        observe(drift, bundle, features(batch, 200, scale=0.1))
    assert (index("reconstruction_error") or 0) > 1
    assert due(redis_client, drifting) is None
    assert index("latent") is None


def test_what_was_trained_on_is_not_compared(model: Bundle, drifting: Settings, redis_client: redis.Redis) -> None:
    topics = drifting.kafka
    bundle = trained_to(model, {topics.items_topic: {0: 1_000}, topics.interactions_topic: {0: 1_000}})
    items = ItemDrift(drifting, redis_client, bundle)
    observe(items, bundle, features(0, 500, scale=3))
    assert index("latent") is None
    observe(items, bundle, features(0, 500, scale=3), following=1_001)
    assert index("latent") is not None
    interactions = InteractionDrift(drifting, redis_client, bundle)
    for partition, following, expected in ((0, 1_000, False), (0, 1_001, True), (1, 1, True)):
        metrics.DRIFT.clear()
        interactions.observe(partition, following, ["new"] * 10)
        interactions.publish([])
        assert (index("popularity") is not None) == expected


def test_new_interests_ask_for_a_training(model: Bundle, drifting: Settings, redis_client: redis.Redis) -> None:
    names = list(model.space.vocabulary)
    half = len(names) // 2
    rng = np.random.default_rng(3)
    drift = InteractionDrift(drifting, redis_client, model)
    for _ in range(20):
        drift.observe(0, 1, [names[row] for row in rng.integers(0, half, 200)])
        drift.publish([])
    assert (index("popularity") or 1) < 0.1
    assert due(redis_client, drifting) is None
    for _ in range(20):
        drift.observe(0, 1, [names[row] for row in rng.integers(half, len(names), 150)] + ["new"] * 50)
        drift.publish([])
    assert (index("popularity") or 0) > 1
    assert "popularity" in (due(redis_client, drifting) or "")


def test_a_model_of_before_is_not_compared(model: Bundle, drifting: Settings, redis_client: redis.Redis) -> None:
    bundle = Bundle(model.manifest, model.content, model.space, model.user_codec)
    items = ItemDrift(drifting, redis_client, bundle)
    observe(items, bundle, features(0, 2_000, scale=3))
    interactions = InteractionDrift(drifting, redis_client, bundle)
    interactions.observe(0, 1, ["new"] * 2_000)
    interactions.publish([])
    assert [family.samples for family in metrics.DRIFT.collect()] == [[]]
    assert due(redis_client, drifting) is None


def test_a_large_batch_is_sampled(model: Bundle, drifting: Settings, redis_client: redis.Redis) -> None:
    drift = ItemDrift(drifting, redis_client, model)
    for count, observed in ((SAMPLE, SAMPLE), (SAMPLE + 2, SAMPLE // 2 + 1), (1024, SAMPLE)):
        drift._windows.clear()
        observe(drift, model, features(0, count))
        assert drift._windows["latent"].observed == observed
