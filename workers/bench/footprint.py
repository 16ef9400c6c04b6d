"""``latentstream bench footprint``: what an item takes in Redis, our way and in three others, on one server."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np
import redis

from schemas.keys import ItemKeys, Keys
from schemas.records import HEADER_BYTES, pack_codes, version_tag
from schemas.settings import Settings
from workers.bench.private_redis import private_redis
from workers.bench.stored_items import partition_of
from workers.delivery import PositionStore
from workers.items import item_batch, shortened_log

PARTITIONS: Final = 4
# As long as those that training makes.
VERSION: Final = "20240101T000000-1a2b3c4d"
SEED: Final = 0
TEXT_ID_LENGTH: Final = 11
_ALPHABET: Final = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_", np.uint8)
# A table of keys that has grown is rearranged in the background, for some seconds.
SETTLED_S: Final = 1.5
SETTLED_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.25
_AT_A_TIME: Final = 1000

Ids = Literal["decimal", "text"]
Advance = Callable[[int], None]
"""Takes the number of items stored so far."""
Watch = Callable[[str, int], Any]
"""Takes a name and a number of items; gives a context manager with an ``Advance``."""


class ChangeLog(msgspec.Struct, frozen=True):
    """The change log beside the layout.

    ``bytes_per_item``: when all items have just been stored, over all items. ``idle_bytes_per_item``: one to
    two minutes after the last event; this much is part of the layout's ``bytes_per_item``. ``largest_bytes``:
    of all partitions together, when each holds as many events as the settings allow.
    """

    bytes_per_item: float
    idle_bytes_per_item: float
    bytes_per_event: float
    largest_bytes: int


class Stored(msgspec.Struct, frozen=True):
    """One way to store the items. ``bytes_per_item`` is null where the server cannot, and ``missing`` says why."""

    what: str
    bytes_per_item: float | None = None
    items_per_s: float | None = None
    missing: str | None = None


class Layout(msgspec.Struct, frozen=True):
    """Our layout. ``bytes_per_item`` has everything in it: keys, buckets, positions, and the idle change log.

    ``interpreter_bytes`` is what the Lua interpreter held after the last write. It is not counted: it is the
    server's, and does not grow with the items.
    """

    what: str
    bytes_per_item: float
    bytes_per_item_with_full_log: float
    items_per_s: float
    record_bytes: int
    buckets: int
    items_per_bucket: float
    largest_bucket: int
    encodings: list[str]
    interpreter_bytes: int
    change_log: ChangeLog


class Footprint(msgspec.Struct, frozen=True):
    """Bytes an item, by ``used_memory`` before and after, on one server."""

    layout: Layout
    plain_keys: Stored
    vector_set_q8: Stored
    vector_set_bin: Stored
    items: int
    ids: str
    code_bytes: int
    dim: int
    partitions: int
    redis: str
    allocator: str


class Items:
    """Items to store: ids, and random codes and vectors, the same at every call."""

    def __init__(self, count: int, kind: Ids, code_bytes: int, dim: int) -> None:
        rng = np.random.default_rng(SEED)
        if kind == "decimal":
            self.ids = [str(number) for number in range(count)]
            self.described = f'decimal, "0" to "{count - 1}"'
        else:
            letters = _ALPHABET[rng.integers(len(_ALPHABET), size=(count, TEXT_ID_LENGTH))]
            self.ids = [row.tobytes().decode() for row in letters]
            self.described = f'{TEXT_ID_LENGTH} characters, such as "{self.ids[0]}"'
        self.codes = rng.integers(0, 256, (count, code_bytes), dtype=np.uint8)
        self.dim = dim

    def __len__(self) -> int:
        return len(self.ids)

    def vectors(self) -> Iterator[bytes]:
        """Yield a vector for each item, little-endian float32 ``[dim]``."""
        rng = np.random.default_rng(SEED)
        for _ in self.ids:
            yield rng.standard_normal(self.dim, np.float32).astype("<f4").tobytes()


def measure(count: int, kind: Ids, code_bytes: int, dim: int, watch: Watch) -> Footprint:
    """Store ``count`` items in every way, one after the other, on a server of their own.

    Raises:
        StackError: there is no Redis server to start.
    """
    items = Items(count, kind, code_bytes, dim)
    with private_redis() as client:
        layout = _layout(client, items, watch)
        plain = _measured(client, items, "SET ls:code:ID, one key an item", "plain keys", _plain_keys, watch)
        q8 = _vector_set(client, items, "Q8", watch)
        binary = _vector_set(client, items, "BIN", watch)
        server: Any = client.info()
    return Footprint(
        layout=layout,
        plain_keys=plain,
        vector_set_q8=q8,
        vector_set_bin=binary,
        items=count,
        ids=items.described,
        code_bytes=code_bytes,
        dim=dim,
        partitions=PARTITIONS,
        redis=server["redis_version"],
        allocator=server["mem_allocator"],
    )


def used_memory(client: redis.Redis) -> int:
    """Return what the server says it uses, when that has not changed for a while."""
    # What the commands so far left in the connections' buffers and in the Lua interpreter (its garbage, of
    # a size that does not depend on the data) is no part of the data.
    client.connection_pool.disconnect()
    client.script_flush("SYNC")
    deadline = time.monotonic() + SETTLED_TIMEOUT_S
    used, since = -1, time.monotonic()
    while time.monotonic() - since < SETTLED_S and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        info: Any = client.info("memory")
        if info["used_memory"] != used:
            used, since = info["used_memory"], time.monotonic()
    return used


def _layout(client: redis.Redis, items: Items, watch: Watch) -> Layout:
    log_events = Settings().recommend.log_events
    keys = Keys("ls")
    partitions = [keys.items(VERSION, partition) for partition in range(PARTITIONS)]
    store = PositionStore(client, keys)
    before = _empty(client)
    start = time.monotonic()
    with watch("our layout", len(items)) as advance:
        write_items(client, store, partitions, items, log_events, advance)
    seconds = time.monotonic() - start
    interpreter: Any = client.info("memory")
    full = used_memory(client) - before
    logged = _log_bytes(client, partitions)
    for part in partitions:
        position = store.claim(part.position, 0)
        store.commit(shortened_log(part, position.next, position), position, position.next)
    idle = used_memory(client) - before
    in_idle_logs = _log_bytes(client, partitions)
    sizes, encodings = _buckets(client, partitions)
    lengths = [min(_stored(client, part.position, "next"), log_events) for part in partitions]
    per_event = logged / sum(lengths)
    return Layout(
        what="hashes of many items, their positions and an idle change log, as the encoder writes them",
        bytes_per_item=round(idle / len(items), 2),
        bytes_per_item_with_full_log=round(full / len(items), 2),
        items_per_s=round(len(items) / seconds),
        record_bytes=HEADER_BYTES + items.codes.shape[1],
        buckets=len(sizes),
        items_per_bucket=round(len(items) / len(sizes), 1),
        largest_bucket=max(sizes),
        encodings=sorted(encodings),
        interpreter_bytes=interpreter["used_memory_vm_total"],
        change_log=ChangeLog(
            bytes_per_item=round(logged / len(items), 2),
            idle_bytes_per_item=round(in_idle_logs / len(items), 4),
            bytes_per_event=round(per_event, 2),
            largest_bytes=round(per_event * log_events * PARTITIONS),
        ),
    )


def write_items(
    client: redis.Redis,
    store: PositionStore,
    partitions: Sequence[ItemKeys],
    items: Items,
    log_events: int,
    advance: Advance,
) -> None:
    """Store all items as the encoder does: batch after batch, the partitions in turn."""
    count = len(items)
    none = np.full(count, np.nan, np.float32)
    errors = np.random.default_rng(SEED).lognormal(size=count).astype(np.float32)
    packed = pack_codes(version_tag(VERSION), np.ones(count, bool), np.zeros(count, bool), errors, none, items.codes)
    rows = defaultdict(list)
    for row, item_id in enumerate(items.ids):
        rows[partition_of(item_id, PARTITIONS)].append(row)
    positions = [store.claim(keys.position, 0) for keys in partitions]
    batch = Settings().events.batch
    done = 0
    for start in range(0, max(map(len, rows.values())), batch):
        for partition, keys in enumerate(partitions):
            position = positions[partition]
            records: dict[str, bytes | None] = {
                items.ids[row]: packed[row] for row in rows[partition][start : start + batch]
            }
            if not records:
                continue
            following = position.next + len(records)
            changes = [(item_id, True) for item_id in records]
            writes = item_batch(client, keys, position, following, changes, records, {}, log_events)
            store.commit(writes.batch, position, following)
            writes.applied(position)
            done += len(records)
            advance(done)


def _plain_keys(client: redis.Redis, items: Items, advance: Advance) -> None:
    for start in range(0, len(items), _AT_A_TIME):
        pipeline = client.pipeline(transaction=False)
        for item_id, code in zip(items.ids[start : start + _AT_A_TIME], items.codes[start:], strict=False):
            pipeline.set(f"ls:code:{item_id}", code.tobytes())
        pipeline.execute()
        advance(min(start + _AT_A_TIME, len(items)))


def _vector_set(client: redis.Redis, items: Items, quantization: Literal["Q8", "BIN"], watch: Watch) -> Stored:
    def fill(client: redis.Redis, items: Items, advance: Advance) -> None:
        pipeline: Any = client.pipeline(transaction=False)
        for done, (item_id, vector) in enumerate(zip(items.ids, items.vectors(), strict=True), 1):
            pipeline.execute_command("VADD", "ls:vectors", "FP32", vector, item_id, quantization)
            if done % _AT_A_TIME == 0 or done == len(items):
                pipeline.execute()
                advance(done)

    what = f"VADD of {items.dim} dimensions, {quantization}"
    server: Any = client
    try:
        server.execute_command("VCARD", "ls:vectors")
    except redis.ResponseError as error:
        return Stored(what, missing=f"the server has no vector sets, which came with Redis 8: {error}")
    return _measured(client, items, what, f"vector set {quantization}", fill, watch)


def _measured(
    client: redis.Redis,
    items: Items,
    what: str,
    name: str,
    fill: Callable[[redis.Redis, Items, Advance], None],
    watch: Watch,
) -> Stored:
    before = _empty(client)
    start = time.monotonic()
    with watch(name, len(items)) as advance:
        fill(client, items, advance)
    seconds = time.monotonic() - start
    used = used_memory(client) - before
    return Stored(what, round(used / len(items), 2), round(len(items) / seconds))


def _empty(client: redis.Redis) -> int:
    client.flushall(asynchronous=False)
    return used_memory(client)


def _log_bytes(client: redis.Redis, partitions: Sequence[ItemKeys]) -> int:
    usage: Any = [client.memory_usage(keys.log, samples=0) for keys in partitions]
    return sum(size or 0 for size in usage)


def _stored(client: redis.Redis, key: str, field: str) -> int:
    value: Any = client.hget(key, field)
    return int(value or 0)


def _buckets(client: redis.Redis, partitions: Sequence[ItemKeys]) -> tuple[list[int], set[str]]:
    """Return the number of items in each bucket, and how Redis encodes them."""
    pipeline = client.pipeline(transaction=False)
    for keys in partitions:
        for bucket in range(_stored(client, keys.position, "buckets")):
            pipeline.hlen(keys.codes(bucket))
            pipeline.object("encoding", keys.codes(bucket))
    found = pipeline.execute()
    return found[::2], {encoding.decode() for encoding in found[1::2] if encoding}
