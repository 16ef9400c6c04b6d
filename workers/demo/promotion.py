"""The next model takes the place of the first while somebody reads all lists again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import redis

from schemas.documents import Recommendations
from workers import connections
from workers.lookup import current_version
from workers.promotions import promote
from workers.registry import open_registry
from workers.sandbox import Sandbox, SandboxError
from workers.subprocesses import Workers, run_command

_READ_EVERY_S: Final = 0.05
_EXCHANGED_WITHIN_S: Final = 120.0
_LIST: Final = msgspec.json.Decoder(Recommendations)


@dataclass(slots=True)
class Reader:
    """What somebody saw who read all lists all the time: how many, and how many of them were not there or empty."""

    lists: int = 0
    empty: int = 0


@dataclass(frozen=True, slots=True)
class Promoted:
    """How the next model took over. ``by_trainer``: the trainer found it better; else it was promoted by hand."""

    version: str
    by_trainer: bool
    seconds: float
    reader: Reader


def take_over(sandbox: Sandbox, workers: Workers, users: Sequence[str]) -> Promoted:
    """Have the trainer make a new model, and wait until all lists of ``users`` are made by it.

    Raises:
        SandboxError: the training failed, or the lists are not made anew in time.
    """
    client = connections.redis_client(sandbox.settings.redis)
    before = current_version(client, sandbox.keys)
    reader, stop = Reader(), threading.Event()
    # A connection of its own.
    own = connections.redis_client(sandbox.settings.redis)
    thread = threading.Thread(target=_read, args=(own, sandbox, users, reader, stop), daemon=True)
    thread.start()
    try:
        run_command(sandbox, "worker", "trainer", "--once", log_level="ERROR")
        began = time.monotonic()
        version = current_version(client, sandbox.keys)
        by_trainer = version != before
        if not by_trainer:
            version = open_registry(sandbox.settings).versions()[-1]
            promote(client, sandbox.keys, version, "to show a promotion")
        while not _all_by(client, sandbox, users, str(version)):
            workers.check()
            if time.monotonic() - began > _EXCHANGED_WITHIN_S:
                raise SandboxError(f"not all lists are made by {version} after {_EXCHANGED_WITHIN_S:.0f} s")
            time.sleep(_READ_EVERY_S)
        seconds = time.monotonic() - began
    finally:
        stop.set()
        thread.join()
    return Promoted(str(version), by_trainer, seconds, reader)


def _read(client: redis.Redis, sandbox: Sandbox, users: Sequence[str], reader: Reader, stop: threading.Event) -> None:
    names = [sandbox.keys.recommendations(user) for user in users]
    while not stop.wait(_READ_EVERY_S):
        found: Any = client.mget(names)
        reader.lists += len(found)
        reader.empty += sum(document is None or not _LIST.decode(document).items for document in found)


def _all_by(client: redis.Redis, sandbox: Sandbox, users: Sequence[str], version: str) -> bool:
    found: Any = client.mget([sandbox.keys.recommendations(user) for user in users])
    return all(document is not None and _LIST.decode(document).model == version for document in found)
