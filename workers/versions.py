"""Which model versions are in use, and from which one everything is complete: what outlives a change of the model.

The *current* version is the one that a person or the trainer wants (``ls:model``, ``version``). The *serving* one
(``serving``) is the last that encoders have gone over to, with every item encoded. Between a promotion and that moment
the two differ: a worker that starts then begins with what serves, and codes are read under it.

A version is *in use* while workers say so, every second. Encoders keep the items of each of these up to date.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, cast

import redis

from schemas.keys import Keys
from workers.lookup import serving_version
from workers.topic_identity import TopicIdentity

# A recommender that hangs for longer loads its codes anew afterwards, if they were not kept up to date.
IN_USE_S: Final = 15.0
# How a version that is trained here begins.
_TRAINED: Final = "%Y%m%dT%H%M%S"
_MARK_HOLDS_S: Final = 10.0
_USE: Final = """
local now = redis.call('TIME')
for _, version in ipairs(ARGV) do redis.call('ZADD', KEYS[1], 'GT', now[1] + now[2] / 1e6, version) end
"""
_SERVE: Final = """
if redis.call('HGET', KEYS[1], 'version') == ARGV[1] then redis.call('HSET', KEYS[1], 'serving', ARGV[1]) end
"""


class Versions:
    """What stands in Redis of the versions in use."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._redis = client
        self._keys = keys
        # (leader, version) -> how far the leader was when it was last looked at, and when that was.
        self._marks: dict[tuple[str, str], tuple[list[int], float]] = {}

    def use(self, versions: Iterable[str]) -> None:
        """Say that ``versions`` are in use now, by the clock of Redis."""
        self._redis.eval(_USE, 1, self._keys.in_use, *versions)

    def ages(self) -> dict[str, float]:
        """Return how many seconds ago each version was last in use; those of which nothing is left are not there."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.time()
        pipeline.zrange(self._keys.in_use, 0, -1, withscores=True)
        (seconds, micros), found = pipeline.execute()
        now = seconds + micros / 1e6
        return {version.decode(errors="replace"): now - used for version, used in found}

    def forget(self, version: str) -> None:
        """Note that nothing is left of a version."""
        self._redis.zrem(self._keys.in_use, version)

    def serving(self) -> str | None:
        """Return the last version that encoders have gone over to, None before the first."""
        return serving_version(self._redis, self._keys)

    def serve(self, version: str) -> None:
        """Note that every item is encoded under ``version``, if that is the current one."""
        self._redis.eval(_SERVE, 1, self._keys.model, version)

    def caught_up(self, version: str, leader: str, partitions: int) -> bool:
        """Return whether the items under ``version`` are encoded as far as under ``leader`` at the last look.

        As far as now would never be seen while events come all the time. Without a look of late it must be, though.
        """
        now, seconds = self.offsets(leader, partitions), time.monotonic()
        mark, seen = self._marks.get((leader, version), (now, 0.0))
        self._marks[leader, version] = now, seconds
        passed = mark if seconds - seen < _MARK_HOLDS_S else now
        return all(own >= other for own, other in zip(self.offsets(version, partitions), passed, strict=True))

    def offsets(self, version: str, partitions: int) -> list[int]:
        """Return how far each partition of the items is encoded under ``version``, 0 where it is not at all."""
        pipeline = self._redis.pipeline(transaction=False)
        for partition in range(partitions):
            pipeline.hget(self._keys.items(version, partition).position, "next")
        return [int(offset or 0) for offset in pipeline.execute()]


def partitions_of(client: redis.Redis, keys: Keys, topic: str) -> int:
    """Return how many partitions of ``topic`` there are positions for, 0 where there are none."""
    stored = cast(bytes | None, client.hget(keys.topics, topic))
    return TopicIdentity.parse(stored.decode()).partitions if stored else 0


def version_prefix() -> str:
    """Return the part of a version that says when it was trained."""
    return datetime.now(UTC).strftime(_TRAINED)


def trained_at(version: str) -> float | None:
    """Return when a version was trained, in Unix seconds, None where it does not say so."""
    try:
        return datetime.strptime(version.partition("-")[0], _TRAINED).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
