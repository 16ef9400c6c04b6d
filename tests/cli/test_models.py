"""``latentstream models``: versions in a registry, the pointer in a real Redis, and what stands under old ones."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pytest
import redis

from models.autoencoders import AutoencoderConfig, build_autoencoder
from models.bundle import ModelParts, save_bundle
from models.content import ContentModel
from models.errors import BundleError
from models.registry import Registry
from models.scaling import Scaling
from schemas.keys import Keys
from schemas.settings import Settings
from tests.cli.conftest import Run
from workers.bench.load import random_bundle
from workers.bench.stored_items import store_items
from workers.lookup import current_version
from workers.promotions import PromotionFailed, promote, promotions, roll_back


def saved(settings: Settings, name: str, width: int | None = None) -> str:
    """Save a model of random weights; with ``width`` for so many features."""
    bundle = random_bundle("content")
    content = bundle.content
    assert content is not None
    if width is not None:
        config = AutoencoderConfig(input_shape=(width,), latent_dim=content.latent_dim, hidden=())
        features = np.random.default_rng(0).standard_normal((100, width)).astype(np.float32)
        content = ContentModel(build_autoencoder(config), Scaling.fit(features, shared_scale=False), content.codec)
    parts = ModelParts(content, bundle.space, bundle.user_codec)
    found = save_bundle(settings.registry, parts, version_prefix=name, metrics={"loss": 0.5}, settings={}, offsets={})
    return found.name


@pytest.fixture
def keys(settings: Settings) -> Keys:
    return Keys(settings.redis.prefix)


def current(client: redis.Redis, keys: Keys) -> str:
    return current_version(client, keys) or ""


def states(run: Run) -> dict[str, str]:
    return {one["version"]: one["state"] for one in json.loads(run("models", "list", "--json").stdout)}


def test_promotions_and_rollbacks_lead_forth_and_back(
    run_real: Run, settings: Settings, redis_client: redis.Redis, keys: Keys
) -> None:
    first, second, third = (saved(settings, name) for name in ("a", "b", "c"))
    assert states(run_real) == {first: "", second: "", third: ""}
    for version in (first, second, third):
        assert run_real("models", "promote", version, "--why", "a test").exit_code == 0
        assert current(redis_client, keys) == version
    assert states(run_real) == {first: "", second: "before", third: "current"}
    shown = json.loads(run_real("models", "show", "--json").stdout)
    assert shown["manifest"]["version"] == third
    assert [(one["version"], one["before"], one["why"]) for one in shown["promotions"]] == [(third, second, "a test")]
    for version in (second, first):
        assert version in run_real("models", "rollback").stdout
        assert current(redis_client, keys) == version
    assert isinstance(run_real("models", "rollback").exception, PromotionFailed)
    assert current(redis_client, keys) == first
    # Forth again, and back to where one came from.
    run_real("models", "promote", third)
    run_real("models", "rollback")
    assert current(redis_client, keys) == first
    assert "not current any more: rollback" in run_real("models", "show", third).stdout


def test_a_version_that_was_set_by_hand_can_be_rolled_back(
    run_real: Run, settings: Settings, redis_client: redis.Redis, keys: Keys
) -> None:
    first, second = saved(settings, "a"), saved(settings, "b")
    promote(redis_client, keys, first, "")
    redis_client.hset(keys.model, "version", second)
    run_real("models", "rollback")
    assert current(redis_client, keys) == first


def test_what_cannot_serve_is_not_promoted(
    run_real: Run, settings: Settings, redis_client: redis.Redis, keys: Keys
) -> None:
    good, damaged, other = saved(settings, "a"), saved(settings, "b"), saved(settings, "c", width=8)
    (settings.registry / damaged / "user_codec.npz").write_bytes(b"damaged")
    run_real("models", "promote", good)
    for version in (damaged, other, "absent", "../a"):
        assert isinstance(run_real("models", "promote", version).exception, BundleError)
        assert current(redis_client, keys) == good
    listed = json.loads(run_real("models", "list", "--json").stdout)
    assert {one["version"]: bool(one["damaged"]) for one in listed} == {good: False, damaged: True, other: False}
    # Nor is it rolled back to.
    promote(redis_client, keys, damaged, "without a look")
    promote(redis_client, keys, other, "without a look")
    assert isinstance(run_real("models", "rollback").exception, BundleError)
    assert current(redis_client, keys) == other


def test_one_of_two_rollbacks_at_the_same_time_is_refused(redis_client: redis.Redis, keys: Keys) -> None:
    for version in ("v1", "v2", "v3"):
        promote(redis_client, keys, version, "")
    meanwhile = threading.Barrier(2, timeout=30)
    outcomes: list[str] = []

    def back() -> None:
        try:
            roll_back(redis_client, keys, "", lambda version: meanwhile.wait())  # noqa: ARG005
            outcomes.append("done")
        except PromotionFailed:
            outcomes.append("refused")

    threads = [threading.Thread(target=back) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["done", "refused"]
    assert current(redis_client, keys) == "v2"
    assert [one.kind for one in promotions(redis_client, keys)] == ["rollback", "promote", "promote", "promote"]


def test_prune_leaves_what_is_needed(run_real: Run, settings: Settings, redis_client: redis.Redis, keys: Keys) -> None:
    versions = [saved(settings, name) for name in "abcde"]
    unused, first, second, challenger, newest = versions
    for version in versions:
        store_items(redis_client, settings, version, ["1", "2"], np.zeros((2, 32), np.uint8))
    promote(redis_client, keys, first, "")
    promote(redis_client, keys, second, "")
    experiment: Any = {"name": "x", "control": second, "challenger": challenger, "share": "0.5"}
    redis_client.hset(keys.experiment, mapping=experiment)
    assert unused in run_real("models", "prune", "--keep", "1").stdout
    assert Registry(settings.registry).versions() == versions
    result = run_real("models", "prune", "--keep", "1", "--yes")
    assert result.exit_code == 0, result.exception
    assert Registry(settings.registry).versions() == [first, second, challenger, newest]
    left = [name.decode() for name in redis_client.scan_iter(match=f"{settings.redis.prefix}:*", count=1000)]
    assert not [name for name in left if unused in name]
    for version in versions[1:]:
        assert [name for name in left if version in name]
    assert not list(settings.registry.glob(".removed-*"))


def test_a_log_with_a_foreign_entry_is_told(run_real: Run, redis_client: redis.Redis, keys: Keys) -> None:
    promote(redis_client, keys, "v1", "")
    redis_client.xadd(keys.promotions, {b"\xff": "what"})
    for command in ("list", "rollback"):
        error = run_real("models", command).exception
        assert isinstance(error, PromotionFailed)
        assert f"XDEL {keys.promotions}" in str(error)


def test_an_empty_registry(run_real: Run) -> None:
    assert "latentstream train" in run_real("models", "list").stdout
    assert "no current model" in str(run_real("models", "show").exception)
