"""Waiting until the workers have processed what was published, in sight of the person who waits."""

from __future__ import annotations

from collections.abc import Callable

import redis

from workers.demo.screen import Screen
from workers.sandbox import Backlog, Sandbox
from workers.subprocesses import Workers


def watch(
    screen: Screen, sandbox: Sandbox, workers: Workers, client: redis.Redis, items: int, interactions: int
) -> None:
    """Show how ``items`` are encoded and lists are made of ``interactions`` until nothing is left.

    Raises:
        SandboxError: a worker has ended, or they do not get on.
    """
    backlog = Backlog(sandbox, client)
    try:
        _watch(screen, workers, "Items encoded", items, backlog.items)
        if interactions:
            _watch(screen, workers, "Interactions processed", interactions, backlog.interactions)
    finally:
        backlog.close()


def _watch(screen: Screen, workers: Workers, text: str, total: int, left: Callable[[], int]) -> None:
    with screen.progress(text, total, total - left()) as advance:
        workers.wait_done(left, lambda remaining: advance(total - remaining))
