"""How much memory the worker and Redis may take, and how much Redis takes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

import redis
import structlog

from workers import metrics

log = structlog.get_logger()

_LOOK_S: Final = 5.0
# Of the container's own control group, version 2 and 1.
LIMITS: Final[tuple[Path, ...]] = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def memory_limit_bytes() -> int:
    """Return how much memory this process may take: that of its container, at most that of the machine."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # Without a limit it is "max", or a number that no machine has.
    told = (file.read_text().strip() for file in LIMITS if file.is_file())
    return min([machine, *(int(limit) for limit in told if limit.isdecimal())])


class RedisMemory:
    """Tells the metrics what Redis says of its memory."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._due = 0.0

    def look(self) -> None:
        """Ask once in a while. A user who may not is not told of again.

        Raises:
            redis.RedisError: no answer.
        """
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _LOOK_S
        try:
            told = self._redis.info("memory")
        except redis.exceptions.NoPermissionError:
            self._due = float("inf")
            log.warning("redis_memory_unknown", reason="the Redis user may not use INFO: `ACL SETUSER … +info`")
            return
        metrics.REDIS_MEMORY.set(told["used_memory"])
        metrics.REDIS_MEMORY_LIMIT.set(told["maxmemory"] or told["total_system_memory"])
