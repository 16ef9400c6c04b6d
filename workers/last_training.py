"""How the last training ended: every trainer sees it, and whoever would ask for the next one."""

from __future__ import annotations

from typing import cast

import msgspec
import redis

from schemas.keys import Keys


class LastTraining(msgspec.Struct, frozen=True):
    """``ended_at`` in Unix seconds; ``outcome`` is "promoted", "refused" or "failed"; ``offsets`` as in a bundle."""

    ended_at: float
    outcome: str
    version: str
    why: str
    offsets: dict[str, dict[int, int]]


def read_last(client: redis.Redis, keys: Keys) -> LastTraining | None:
    """Return how the last training ended; None where there was none, or something else stands there."""
    packed = cast(bytes | None, client.get(keys.training))
    try:
        return msgspec.json.decode(packed, type=LastTraining) if packed else None
    except msgspec.DecodeError:
        return None


def write_last(client: redis.Redis, keys: Keys, last: LastTraining) -> None:
    """Note how a training ended."""
    client.set(keys.training, msgspec.json.encode(last))
