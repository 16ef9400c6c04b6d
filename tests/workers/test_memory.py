"""How much memory there is, as the container and Redis tell it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from schemas.settings import Settings
from workers import memory, metrics
from workers.memory import RedisMemory, memory_limit_bytes

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("told", "limit"),
    [
        ([], MACHINE),
        (["max"], MACHINE),
        (["1048576"], 1048576),
        ([str(2**63 - 4096)], MACHINE),
        (["max", "4096"], 4096),
    ],
)
def test_the_limit_is_that_of_the_container_where_it_has_one(
    told: list[str], limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / str(number) for number in range(2)]
    for file, text in zip(files, told, strict=False):
        file.write_text(f"{text}\n")
    monkeypatch.setattr(memory, "LIMITS", tuple(files))
    assert memory_limit_bytes() == limit


def test_redis_tells_what_it_takes_and_may_take(redis_client: redis.Redis) -> None:
    RedisMemory(redis_client).look()
    taken = metrics.REGISTRY.get_sample_value("latentstream_redis_memory_bytes")
    limit = metrics.REGISTRY.get_sample_value("latentstream_redis_memory_limit_bytes")
    assert taken is not None
    assert limit is not None
    assert 0 < taken < limit <= MACHINE


@pytest.fixture
def limited(settings: Settings, redis_client: Any) -> Iterator[redis.Redis]:
    """A user who may not use INFO."""
    name = settings.redis.prefix
    redis_client.execute_command("ACL", "SETUSER", name, "on", ">word", "~*", "+@all", "-info")
    with redis.Redis.from_url(
        settings.redis.url.get_secret_value(), username=name, password="word", protocol=2
    ) as user:
        yield user
    redis_client.execute_command("ACL", "DELUSER", name)


def test_who_may_not_ask_is_told_once_and_goes_on(limited: redis.Redis) -> None:
    memory = RedisMemory(limited)
    with capture_logs() as told:
        memory.look()
        memory.look()
    assert [line["event"] for line in told] == ["redis_memory_unknown"]
