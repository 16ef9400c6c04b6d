"""Loads the buckets of codes and attributes once, then follows the change logs, on a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, Final, NamedTuple, cast

import redis
import structlog

from schemas.keys import ItemKeys, Keys
from schemas.records import LogEntry
from workers import metrics
from workers.background import Background
from workers.catalogue import Catalogue
from workers.refusals import raise_if_denied
from workers.tracing import indexing

log = structlog.get_logger()

BLOCK_MS: Final = 500
BATCHES_AT_A_TIME: Final = 100
BUCKETS_AT_A_TIME: Final = 100
RETRY_S: Final = 1.0
_Reply = list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]


class _Stored(NamedTuple):
    """What some buckets hold: the attributes are JSON, or empty."""

    ids: list[str]
    records: list[bytes]
    attributes: list[bytes]


class Follower(Background):
    """Keeps a catalogue equal to the codes and attributes in Redis.

    ``loaded`` is set once every partition has been read for the first time, for which it takes ``share`` of the time.
    ``on_filled`` is called before that, and before the index is built.
    """

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys,
        version: str,
        partitions: int,
        catalogue: Catalogue,
        share: float = 1.0,
        on_filled: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__("follower")
        self._idle_ratio = (1 - share) / share
        self._on_filled = on_filled
        self._redis = client
        self._partitions = {partition: keys.items(version, partition) for partition in range(partitions)}
        self._catalogue = catalogue
        self._positions: dict[int, int] = {}
        self._current_at = time.monotonic()
        self.loaded = threading.Event()

    def loop(self) -> None:
        """Load, then follow, and load again what cannot be followed."""
        while not self.stopping.is_set():
            try:
                self._load_missing()
                if not self.stopping.is_set():
                    self.loaded.set()
                    self._follow()
            except redis.RedisError as error:
                raise_if_denied(error)
                metrics.count_failure(error)
                log.warning("follower_retrying", error=type(error).__name__, reason=str(error))
                self.stopping.wait(RETRY_S)

    def age_s(self) -> float:
        """Return for how long the catalogue has not been known to have all that Redis has."""
        return time.monotonic() - self._current_at

    def _load_missing(self) -> None:
        # Until all is loaded nobody asks the indexes.
        with nullcontext() if self.loaded.is_set() else self._catalogue.filling():
            for partition, keys in self._partitions.items():
                if partition not in self._positions and not self.stopping.is_set():
                    self._load(partition, keys)
            if not self.loaded.is_set():
                self._on_filled()

    def _load(self, partition: int, keys: ItemKeys) -> None:
        """Read all buckets. The position is read first: what changes meanwhile is in the log after it.

        While some buckets are taken over, the next ones are read.
        """
        following, buckets = self._position(keys)
        seen: set[str] = set()
        parts = self._stored(keys, buckets)
        with ThreadPoolExecutor(1, "follower-reader") as reader:
            upcoming = reader.submit(next, parts, None)
            while (part := upcoming.result()) is not None and not self.stopping.is_set():
                upcoming = reader.submit(next, parts, None)
                began = time.monotonic()
                self._catalogue.apply(partition, *part)
                seen.update(part.ids)
                if not self.loaded.is_set():
                    self.stopping.wait((time.monotonic() - began) * self._idle_ratio)
        if self.stopping.is_set():
            return
        self._catalogue.retain(partition, seen)
        self._advance(partition, following)
        log.info("codes_loaded", partition=partition, items=len(seen), offset=following)

    def _stored(self, keys: ItemKeys, buckets: int) -> Iterator[_Stored]:
        """Yield what all buckets hold, of which there were so many when it began."""
        start = 0
        while start < buckets:
            stop = min(start + BUCKETS_AT_A_TIME, buckets)
            pipeline = self._redis.pipeline(transaction=False)
            for bucket in range(start, stop):
                pipeline.hgetall(keys.codes(bucket))
                pipeline.hgetall(keys.attributes(bucket))
            parts = cast(list[dict[bytes, bytes]], pipeline.execute())
            records, attributes = _merged(parts[::2]), _merged(parts[1::2])
            documents = [attributes.get(name, b"") for name in records] if attributes else [b""] * len(records)
            yield _Stored(list(map(bytes.decode, records)), list(records.values()), documents)
            start = stop
            # A split moves ids to higher buckets only, so that reading upwards misses none; what it moved between
            # the two reads of a bucket is read again, whole.
            buckets = self._position(keys)[1]

    def _position(self, keys: ItemKeys) -> tuple[int, int]:
        following, buckets = self._redis.hmget(keys.position, "next", "buckets")
        return int(following or 0), int(buckets or 1)

    def _follow(self) -> None:
        streams: dict[Any, Any] = {
            keys.log: f"{self._positions[partition]}-0" for partition, keys in self._partitions.items()
        }
        by_log = {keys.log.encode(): partition for partition, keys in self._partitions.items()}
        asked_at = time.monotonic()
        reply = cast(_Reply, self._redis.xread(streams, count=BATCHES_AT_A_TIME, block=BLOCK_MS))
        if not reply:
            self._check_for_restore()
        for name, entries in reply:
            self._apply(by_log[name], entries)
        complete = all(len(entries) < BATCHES_AT_A_TIME for _, entries in reply)
        # Of a partition that is to be loaded again there is no position.
        if complete and len(self._positions) == len(self._partitions):
            self._current_at = asked_at

    def _apply(self, partition: int, entries: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
        ids: list[str] = []
        records: list[bytes] = []
        attributes: list[bytes] = []
        position = self._positions[partition]
        for entry_id, fields in entries:
            try:
                entry = LogEntry.unpack(fields.get(b"batch", b""))
            except ValueError as error:
                log.warning("log_unreadable", partition=partition, entry=entry_id.decode(), reason=str(error))
                del self._positions[partition]
                return
            if entry.base > position:
                log.warning("log_gap", partition=partition, position=position, base=entry.base)
                del self._positions[partition]
                return
            position = int(entry_id.partition(b"-")[0])
            ids += entry.ids
            records += entry.records
            attributes += entry.attributes
        with indexing(entries):
            self._catalogue.apply(partition, ids, records, attributes)
        self._advance(partition, position)

    def _advance(self, partition: int, position: int) -> None:
        self._positions[partition] = position
        metrics.INDEX_OFFSET.labels(self._partitions[partition].version, partition).set(position)

    def _check_for_restore(self) -> None:
        """Load a partition again when its position went back: Redis was restored to an older state."""
        for partition, keys in self._partitions.items():
            stored = cast(bytes | None, self._redis.hget(keys.position, "next"))
            # Without any the version was removed, or all is about to be encoded anew: until then what is known serves.
            if stored is not None and int(stored) < self._positions[partition]:
                log.warning("position_went_back", partition=partition, position=int(stored))
                del self._positions[partition]


def _merged(parts: list[dict[bytes, bytes]]) -> dict[bytes, bytes]:
    merged: dict[bytes, bytes] = {}
    for part in parts:
        merged |= part
    return merged
