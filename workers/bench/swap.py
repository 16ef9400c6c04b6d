"""``latentstream bench swap``: what a promotion and a rollback cost whoever has interactions meanwhile."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, cast

import msgspec
import numpy as np
import redis

from models.bundle import save_bundle
from schemas.documents import Recommendations
from schemas.events import InteractionEvent, ItemEvent
from workers import connections, promotions
from workers.bench import load
from workers.bench.latency import Summary
from workers.bench.list_watch import ListWatch, PacedProducer
from workers.sandbox import Backlog, Sandbox, SandboxError
from workers.subprocesses import Workers

NAME: Final = "bench-swap"
HISTORY: Final = 10
_LIKED: Final = 3
_USERS_AT_A_TIME: Final = 500
# Before anything counts: first calls are slower than the rest.
_WARM_UP_S: Final = 5.0
_SWAPPED_WITHIN_S: Final = 3_600.0
_LOOK_S: Final = 1.0
_LIST: Final = msgspec.json.Decoder(Recommendations)

Say = Callable[[str], None]


class Memory(msgspec.Struct, frozen=True):
    """Bytes: of Redis, and of each worker's process."""

    redis: int
    encoder: int
    recommender: int


class Change(msgspec.Struct, frozen=True):
    """Going over to another model under load.

    ``seconds`` is from the promotion until all lists are made by it. ``p99`` and ``memory`` are over what they were
    before the first promotion.
    """

    seconds: float
    event_to_list_ms: Summary
    highest: Memory
    p99: float
    memory: dict[str, float]


class Result(msgspec.Struct, frozen=True):
    """What was measured."""

    items: int
    users: int
    interactions_per_s: float
    event_to_list_ms: Summary
    memory: Memory
    promotion: Change
    rollback: Change


def measure(items: int, users: int, rate: float, seconds: float, say: Say) -> Result:
    """Encode ``items`` generated items, and change the model of ``users`` twice under ``rate`` interactions a second.

    Raises:
        StackError, ConnectionFailed, SandboxError: what a person must repair.
    """
    # Else the rollback would only find what the promotion has left of the catalogue.
    sandbox = Sandbox.open(NAME, say, {"swap": {"keep_s": 24 * 3600.0}})
    client = connections.redis_client(sandbox.settings.redis)
    first, second = (_save(sandbox, seed) for seed in (0, 1))
    promotions.promote(client, sandbox.keys, first, "bench")
    say(f"Publishing {items:,} items, and {HISTORY} interactions of each of {users:,} users.")
    sandbox.publish(_items(items))
    world = _World(items, users)
    sandbox.publish(itertools.islice(world.interactions(0, HISTORY), users * HISTORY))
    backlog = Backlog(sandbox, client)
    say("Encoding them.")
    with Workers(sandbox, ["encoder"]) as workers:
        workers.wait_ready()
        workers.wait_done(backlog.items)
    with Workers(sandbox) as workers:
        workers.wait_ready()
        say("Making the first lists.")
        workers.wait_done(backlog.interactions)
        backlog.close()
        _Load(sandbox, workers, client, world, rate, _after(_WARM_UP_S)).run()
        say(f"Streaming {rate:g} interactions/s for {seconds:g} s.")
        before = _Load(sandbox, workers, client, world, rate, _after(seconds))
        before.run()
        promoted = _change(sandbox, workers, client, world, rate, second, before, say)
        back = _change(sandbox, workers, client, world, rate, first, before, say)
    return Result(items, users, rate, before.latency, before.highest, promoted, back)


def _change(
    sandbox: Sandbox,
    workers: Workers,
    client: redis.Redis,
    world: _World,
    rate: float,
    version: str,
    before: _Load,
    say: Say,
) -> Change:
    say(f"Going over to {version}.")
    began = time.monotonic()
    promotions.promote(client, sandbox.keys, version, "bench")
    during = _Load(sandbox, workers, client, world, rate, lambda: _all_by(client, sandbox, world.users, version))
    during.run()
    highest, usual = msgspec.structs.asdict(during.highest), msgspec.structs.asdict(before.highest)
    return Change(
        round(time.monotonic() - began, 1),
        during.latency,
        during.highest,
        round(during.latency.p99 / before.latency.p99, 2),
        {name: round(highest[name] / usual[name], 2) for name in usual},
    )


class _World:
    """Users who like three topics each, and a catalogue."""

    def __init__(self, items: int, users: int) -> None:
        self._items = items
        self.users = users
        self._topics = load.topics(items)
        self._liked = np.random.default_rng(load.SEED).integers(self._topics, size=(users, _LIKED))

    def interactions(self, seed: int, together: int = 1) -> Iterator[InteractionEvent]:
        """Yield interactions of the users in turns, so many of each at a time."""
        rng = np.random.default_rng(seed)
        for turn in itertools.count():
            user = turn % self.users
            for _ in range(together):
                item = rng.choice(self._liked[user]) + self._topics * rng.integers(self._items // self._topics)
                yield InteractionEvent(user_id=str(user), item_id=str(item), kind="view")


class _Load:
    """Interactions at an even rate until ``done`` says so, which is asked once a second; memory is looked at then."""

    def __init__(
        self,
        sandbox: Sandbox,
        workers: Workers,
        client: redis.Redis,
        world: _World,
        rate: float,
        done: Callable[[], bool],
    ) -> None:
        self._sandbox = sandbox
        self._workers = workers
        self._redis = client
        self._world = world
        self._rate = rate
        self._done = done
        self.latency: Summary
        self.highest = Memory(0, 0, 0)

    def run(self) -> None:
        """Send, and wait for all lists.

        Raises:
            SandboxError: it is not done within an hour, or a worker has ended.
        """
        # Each thread has a connection of its own.
        watch_client = connections.redis_client(self._sandbox.settings.redis)
        with ListWatch(self._sandbox, watch_client) as watch, _Until(self._look) as until:
            producer = PacedProducer(self._sandbox, watch)
            try:
                seed = time.monotonic_ns() % (1 << 32)
                stream = self._world.interactions(seed)
                producer.send(itertools.takewhile(lambda _: not until.reached, stream), self._rate)
            finally:
                producer.close()
            until.check()
            self.latency = watch.finish()

    def _look(self) -> bool:
        self._workers.check()
        encoder, recommender = (load.resident_bytes(process.pid) for process in self._workers.processes)
        used = int(self._redis.info("memory")["used_memory"])
        self.highest = Memory(
            max(self.highest.redis, used),
            max(self.highest.encoder, encoder),
            max(self.highest.recommender, recommender),
        )
        return self._done()


class _Until:
    """Asks a question once a second, on a thread of its own."""

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask = ask
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._answered = False
        self.reached = False

    def __enter__(self) -> _Until:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def check(self) -> None:
        """Raise what came in its way.

        Raises:
            SandboxError: the answer was no for an hour, or a worker has ended.
        """
        if self._error is not None:
            raise self._error
        if not self._answered:
            raise SandboxError(f"the model is not exchanged after {_SWAPPED_WITHIN_S:.0f} s")

    def _run(self) -> None:
        deadline = time.monotonic() + _SWAPPED_WITHIN_S
        try:
            while not self._answered and time.monotonic() < deadline and not self._stop.wait(_LOOK_S):
                self._answered = self._ask()
        except Exception as error:  # noqa: BLE001 - it is raised again, on the main thread
            self._error = error
        self.reached = True


def _after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def _all_by(client: redis.Redis, sandbox: Sandbox, users: int, version: str) -> bool:
    """Return whether all lists are by ``version``; the first that is not is soon found."""
    for start in range(0, users, _USERS_AT_A_TIME):
        names = [sandbox.keys.recommendations(str(user)) for user in range(start, min(start + _USERS_AT_A_TIME, users))]
        found = cast(list[bytes | None], client.mget(names))
        if not all(document is not None and _LIST.decode(document).model == version for document in found):
            return False
    return True


def _save(sandbox: Sandbox, seed: int) -> str:
    parts, registry = load.random_parts("content", seed), Path(sandbox.settings.registry)
    path = save_bundle(registry, parts, version_prefix=f"seed-{seed}", metrics={}, settings={}, offsets={})
    return path.name


def _items(count: int) -> Iterator[ItemEvent]:
    """Yield items that lie as those of :func:`load.topical_items` do."""
    made = load.topical_items(count)
    for name, row in zip(made.ids, load.features(made).astype("<f4"), strict=True):
        yield ItemEvent(item_id=name, features=row.tobytes())
