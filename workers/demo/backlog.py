"""Waiting until the workers have processed what was published, in sight of the person who waits."""

from __future__ import annotations

from collections.abc import Callable

import redis

from workers.demo.screen import Screen
from workers.sandbox import Backlog, Sandbox
from workers.subprocesses import Workers


def watch(screen: Screen, sandbox: Sandbox, workers: Workers, client: redis.Redis) -> None:
    """Show how items are encoded and lists are made until nothing is left.

    Raises:
        SandboxError: a worker has ended.
    """
    backlog = Backlog(sandbox, client)
    try:
        _watch(screen, workers, "Items encoded", backlog.items)
        _watch(screen, workers, "Interactions processed", backlog.interactions)
    finally:
        backlog.close()


def _watch(screen: Screen, workers: Workers, text: str, left: Callable[[], int]) -> None:
    total = left()
    if not total:
        return
    with screen.progress(text, total) as advance:

        def is_done() -> bool:
            remaining = left()
            advance(total - remaining)
            return not remaining

        workers.wait_until(is_done)
