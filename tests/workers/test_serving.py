"""What a recommender serves with, made ready beside what serves until then."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import msgspec
import redis

from models.bundle import Bundle
from schemas.settings import Settings
from tests.e2e.conftest import wait_until
from workers.bench.load import random_bundle
from workers.serving import Preparation, Serving, Target


class Loaded:
    """Models of the same weights under any version."""

    def __init__(self) -> None:
        self._bundle = random_bundle("content")

    def load(self, version: str) -> Bundle:
        manifest = msgspec.structs.replace(self._bundle.manifest, version=version)
        return Bundle(manifest, self._bundle.content, self._bundle.space, self._bundle.user_codec)


def prepared(
    settings: Settings, client: redis.Redis, models: Any, version: str, running: Serving | None = None
) -> Serving:
    preparation = Preparation(settings, client, models, Target(version), running, (2, 2))
    preparation.start()

    def ready() -> Serving | None:
        preparation.check()
        return preparation.ready

    wait_until(ready, "it is ready")
    serving = ready()
    assert serving is not None
    return serving


def test_what_served_before_is_let_go(settings: Settings, redis_client: redis.Redis) -> None:
    models = Loaded()
    serving = prepared(settings, redis_client, models, "v1")
    catalogue = serving.arms.control.catalogue
    for version in ("v2", "v3"):
        before = weakref.ref(serving.arms.control.catalogue)
        following = prepared(settings, redis_client, models, version, serving)
        # Ids take more memory than codes, so that they are not there twice meanwhile.
        assert following.arms.control.catalogue.item_ids is catalogue.item_ids
        serving.close(keep=following)
        catalogue = following.arms.control.catalogue
        serving = following
        del following
        gc.collect()
        assert before() is None
    serving.close()
