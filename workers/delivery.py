"""Nothing lost, nothing twice: the position of a partition is written in one Lua call with its data.

What is true after each step of a batch:

1. *dead letters and anomalies acknowledged*: what cannot be processed, or must be told, is safe in Kafka;
2. *lists written* (recommender only): derived data, written again by a replay;
3. *committed*: data, change log and position are in Redis together, or none of them is;
4. *committed to Kafka*: lag is visible. Nothing depends on it.

A crash before 3 replays the batch, and step 1 with it; one after it does not. A worker that lost its
partition has an old epoch and is refused at 3.

Lists that no event asks for (an item is gone, or has arrived) are written after a commit that moves nothing: the
commit tells whether the partition is still ours, and what a crash leaves undone is found after the next claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import redis

from schemas.keys import Keys

Argument = str | bytes | int | float
# Lua's unpack is limited to about 8,000 values; a command with more arguments is divided by the caller.
MAX_ARGUMENTS: Final = 4000
# Instead of seconds: a list that expires goes on doing so.
KEEP_EXPIRY: Final = -1
_HERE: Final = Path(__file__).parent


class Refused(Exception):  # noqa: N818
    """A newer owner has claimed the partition: this worker must not write to it."""


class Moved(Exception):  # noqa: N818
    """The stored position is not where this batch begins: a write succeeded whose answer was lost."""


@dataclass(slots=True)
class Position:
    """Where a partition stands: who owns it, what comes next, the size of its buckets, and how often it was written.

    Not every commit moves the position on: lists are made anew without events. ``commits`` tells such states apart,
    where Redis was restored to an older one.
    """

    epoch: int
    next: int
    ids: int
    buckets: int
    commits: int


class Batch:
    """The writes of one batch of one partition, applied together or not at all."""

    def __init__(self, position_key: str) -> None:
        self._keys: dict[str, int] = {position_key: 1}
        self._arguments: list[Argument] = []

    def add(self, key: str, command: str, *arguments: Argument) -> None:
        """Append ``command key arguments…``; the key must share the partition's hash tag."""
        index = self._keys.setdefault(key, len(self._keys) + 1)
        self._arguments += (index, command, len(arguments), *arguments)

    def set_fields(self, key: str, fields: dict[str, bytes]) -> None:
        """Append the HSET of all ``fields``, in as many commands as it takes."""
        flat: list[Argument] = [part for field in fields.items() for part in field]
        for start in range(0, len(flat), MAX_ARGUMENTS):
            self.add(key, "HSET", *flat[start : start + MAX_ARGUMENTS])

    @property
    def keys(self) -> list[str]:
        """All keys, the position first."""
        return list(self._keys)

    @property
    def arguments(self) -> list[Argument]:
        """The operations, as the script reads them."""
        return self._arguments


class PositionStore:
    """Claims partitions and commits batches."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._redis = client
        self._keys = keys
        self._next_epoch = client.register_script((_HERE / "next_epoch.lua").read_text())
        self._claim = client.register_script((_HERE / "claim.lua").read_text())
        self._commit = client.register_script((_HERE / "commit.lua").read_text())

    def claim(self, position_key: str, beginning: int) -> Position:
        """Make this worker the owner of a partition and return where it stands.

        ``beginning`` is the offset to start at when nobody has owned the partition before.
        """
        while True:
            epoch = int(self._next_epoch(keys=[self._keys.epoch]))
            ours, *stored = self._claim(keys=[position_key], args=[epoch, beginning])
            if ours:
                return Position(*map(int, stored))
            # Another worker was faster, or the clock of Redis is behind: pass the owner.
            self._redis.incrby(self._keys.epoch, max(int(stored[0]) - epoch, 0))

    def standing(self, position_keys: Sequence[str]) -> list[tuple[int, int, int]]:
        """Return epoch, next offset and commits of each position as it is stored, -1 where there is none."""
        pipeline = self._redis.pipeline(transaction=False)
        for key in position_keys:
            pipeline.hmget(key, "epoch", "next", "commits")
        rows = pipeline.execute()
        return [tuple(-1 if value is None else int(value) for value in row) for row in rows]  # type: ignore[misc]

    def first_known(self, topic: str, identity: str) -> str:
        """Return the identity under which positions of ``topic`` were stored first, ``identity`` if none were."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hsetnx(self._keys.topics, topic, identity)
        pipeline.hget(self._keys.topics, topic)
        return str(pipeline.execute()[1], "utf-8")

    def take_over(self, topic: str, identity: str) -> None:
        """Store positions under another identity of ``topic`` from now on."""
        self._redis.hset(self._keys.topics, topic, identity)

    def commit(self, batch: Batch, position: Position, following: int) -> None:
        """Write ``batch`` and move the position to the offset ``following``.

        Raises:
            Refused: another worker owns the partition.
            Moved: the state in Redis is not the one that ``position`` tells of.
            redis.RedisError: no answer; the batch is written or not, and may be committed again.
        """
        before = (position.epoch, position.next, position.commits)
        status, value = self._commit(keys=batch.keys, args=[*before, following, *batch.arguments])
        if status == b"refused":
            raise Refused(f"epoch {position.epoch} is over, the owner has {value.decode()}")
        if status == b"moved":
            raise Moved(
                f"position is {value.decode()}, the batch begins at {position.next} after {position.commits} commits"
            )
        position.next = following
        position.commits += 1


class FinishedList(NamedTuple):
    """A list to write under ``key``; it expires after ``seconds``, never (0), or as before (KEEP_EXPIRY)."""

    key: str
    document: bytes
    order: str
    seconds: int = 0


class ListWriter:
    """Writes finished lists so that an older one never replaces a newer one."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._script = client.register_script((_HERE / "set_newer.lua").read_text())

    def write(self, lists: list[FinishedList]) -> int:
        """Write ``lists``; return how many were refused as older."""
        if not lists:
            return 0
        pipeline = self._redis.pipeline(transaction=False)
        for finished in lists:
            first = finished.document.index(finished.order.encode())
            arguments: list[Argument] = [finished.document, first, finished.order, finished.seconds]
            self._script(keys=[finished.key], args=arguments, client=pipeline)
        return sum(not written for written in pipeline.execute())
