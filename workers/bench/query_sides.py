"""Who is asked in ``latentstream bench query``: a recommender and vector sets, the same items on one Redis server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import redis

from models.arrays import Floats
from schemas.events import InteractionEvent
from schemas.keys import Keys
from workers.bench.glove_catalogue import GloveCatalogue
from workers.bench.private_redis import private_redis
from workers.bench.vector_set import VectorSet, vector_sets, why_missing
from workers.sandbox import Backlog, Sandbox, SandboxError
from workers.subprocesses import Workers

NAME: Final = "bench-query"
QUERIES: Final = 500
USERS: Final = 1000
K: Final = 10
LONG_K: Final = 100
_TOUCHED: Final = 5
_SETTLE_TIMEOUT_S: Final = 120.0
_POLL_S: Final = 0.2

Say = Callable[[str], None]
Watch = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Takes a name and a number of items; gives a context manager with what takes the number of those done."""


@dataclass(frozen=True, slots=True)
class Sides:
    """All that is measured, with its items, ready to be asked."""

    client: redis.Redis
    port: int
    keys: Keys
    workers: Workers
    catalogue: GloveCatalogue
    vector_sets: Sequence[VectorSet]
    missing: str
    users: Sequence[str]
    cuts: Floats  # [queries, 2]: see GloveCatalogue.cuts, for 10 and 100


@contextmanager
def prepared(items: int, say: Say, watch: Watch) -> Iterator[Sides]:
    """Fill all sides on a Redis server of their own and start a recommender; both are gone afterwards."""
    catalogue = GloveCatalogue(items, QUERIES)
    with private_redis() as client:
        port = client.connection_pool.connection_kwargs["port"]
        sandbox = Sandbox.open(NAME, say, {"redis": {"url": f"redis://127.0.0.1:{port}/0"}})
        with watch("our items", len(catalogue)) as advance:
            catalogue.store(client, sandbox.settings, advance)
        missing = why_missing(client, NAME)
        peers = () if missing else vector_sets(NAME)
        for peer in peers:
            with watch(f"vector set {peer.quantization}, M {peer.m}", len(catalogue)) as advance:
                peer.fill(port, catalogue.vectors, advance)
        _append_from_now_on(client)
        with Workers(sandbox, ["recommender"]) as workers:
            workers.wait_ready()
            users = _make_lists(sandbox, client, workers, len(catalogue))
            yield Sides(
                client, port, sandbox.keys, workers, catalogue, peers, missing, users, catalogue.cuts((K, LONG_K))
            )


def _make_lists(sandbox: Sandbox, client: redis.Redis, workers: Workers, items: int) -> list[str]:
    """Let ``USERS`` touch items, wait until the recommender has made their lists, and return their names."""
    rng = np.random.default_rng(0)
    touched = {f"user-{number}": rng.integers(items, size=_TOUCHED).tolist() for number in range(USERS)}
    sandbox.publish(InteractionEvent(user, str(item)) for user, own in touched.items() for item in own)
    backlog = Backlog(sandbox, client)
    try:
        workers.wait_done(backlog.interactions)
    finally:
        backlog.close()
    return list(touched)


def _append_from_now_on(client: redis.Redis) -> None:
    """Turn the append-only file on, and wait until it holds all that is there."""
    client.config_set("appendonly", "yes")
    deadline = time.monotonic() + _SETTLE_TIMEOUT_S
    while time.monotonic() < deadline:
        state: Any = client.info("persistence")
        if state["aof_enabled"] and not (state["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"]):
            return
        time.sleep(_POLL_S)
    raise SandboxError(f"Redis has not written its append-only file in {_SETTLE_TIMEOUT_S:.0f} s")
