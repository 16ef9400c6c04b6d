"""``latentstream bench growth``: what an interaction costs and what is kept, by items, users and length of histories.

Each point has a process and a Redis of its own, with the code of the recommender in that process: its ``step`` on
records made by hand, so that neither Kafka nor who publishes is measured.

What may grow:

- *CPU and time of an interaction* with the logarithm of the items at most, where the index does not look at all of
  them; not with the users, whose histories are read by key; with the length of a history at most linearly.
- *Bytes in Redis and in memory of an item* not at all: they may fall, as what is there once is shared by more.
- *Bytes of a user* with the length of the history, linearly; not with the number of users.

Information content, which is what nobody could leave out:

- of a stored code the bytes of its id and of its code. The three bytes of header are not counted, nor is how one
  finds the item.
- of a list the bytes of all that the document tells: ids, the digits of scores, who, by which model and when. Names of
  fields, what JSON puts between values, the key and what Redis adds are not counted.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from statistics import median
from typing import Final

import msgspec

from workers import logs
from workers.bench import load
from workers.bench.footprint import used_memory
from workers.bench.growth_system import STEP, lists, own_system, steps, store_histories
from workers.bench.private_redis import private_redis
from workers.catalogue import Catalogue

# What does not grow while another thing does.
ITEMS: Final = 10_000
USERS: Final = 10_000
HISTORY: Final = 10
# How much more an interaction may cost with the most items than with the fewest.
DEARER: Final = 2.0
# How much more memory an item may take; the pages that the allocator holds differ by so much.
LARGER: Final = 1.1
OVER_CONTENT: Final = 1.5
# For a million codes.
LOAD_S: Final = 15.0


class Cost(msgspec.Struct, frozen=True):
    """Milliseconds an interaction: the median of the steps, the least and the most."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Cost:
        """Return the cost of an interaction, from the seconds that each step took."""
        each = [1000 * one / STEP for one in seconds]
        return cls(*(round(value, 4) for value in (median(each), min(each), max(each))))


class Point(msgspec.Struct, frozen=True):
    """One system. Bytes are of ``used_memory`` in Redis, and of the resident memory of the recommender."""

    items: int
    users: int
    history: int
    cpu_ms: Cost
    wall_ms: Cost
    load_s: float
    redis_bytes_per_item: float
    redis_bytes_per_user: float
    memory_bytes_per_item: float
    item_over_content: float
    list_bytes: float
    list_over_content: float


class Growth(msgspec.Struct, frozen=True):
    """All points of the three sweeps, and what grew more than it may."""

    space: load.Space
    items: list[Point]
    users: list[Point]
    histories: list[Point]
    broken: list[str]


def measure(
    space: load.Space,
    items: Sequence[int],
    users: Sequence[int],
    histories: Sequence[int],
    say: Callable[[str], None],
) -> Growth:
    """Measure a system of each number of ``items``, of ``users`` and of interactions in each history.

    Raises:
        StackError: there is no Redis server to start.
    """

    def point(items: int, users: int, history: int) -> Point:
        say(f"{items:,} items, {users:,} users with histories of {history}")
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(_point, space, items, users, history).result()

    by_items = [point(count, USERS, HISTORY) for count in items]
    by_users = [point(ITEMS, count, HISTORY) for count in users]
    by_history = [point(ITEMS, USERS, length) for length in histories]
    return Growth(space, by_items, by_users, by_history, broken(by_items, by_users, by_history))


def broken(items: Sequence[Point], users: Sequence[Point], histories: Sequence[Point]) -> list[str]:
    """Return what grew more than it may, see above, in sentences."""
    found = []

    def check(what: str, first: float, last: float, limit: float) -> None:
        if last > limit * first:
            found.append(f"{what} grew {last / first:.1f} times, from {first:g} to {last:g}; it may {limit:g} times")

    for name, points in (("items", items), ("users", users)):
        first, last = points[0], points[-1]
        check(f"CPU of an interaction with the {name}", first.cpu_ms.median, last.cpu_ms.median, DEARER)
        check(f"time of an interaction with the {name}", first.wall_ms.median, last.wall_ms.median, DEARER)
    first, last = items[0], items[-1]
    check("memory of an item", first.memory_bytes_per_item, last.memory_bytes_per_item, LARGER)
    # With few items it is mostly what is there once, and would hide that of the items.
    check("memory of an item at the end", items[-2:][0].memory_bytes_per_item, last.memory_bytes_per_item, LARGER)
    check("Redis' bytes of an item", first.redis_bytes_per_item, last.redis_bytes_per_item, LARGER)
    first, last = users[0], users[-1]
    check("Redis' bytes of a user", first.redis_bytes_per_user, last.redis_bytes_per_user, LARGER)
    first, last = histories[0], histories[-1]
    longer = last.history / first.history
    check("CPU of an interaction with the history", first.cpu_ms.median, last.cpu_ms.median, longer)
    check("Redis' bytes of a user with the history", first.redis_bytes_per_user, last.redis_bytes_per_user, longer)
    allowed_s = LOAD_S * max(items[-1].items / 1_000_000, 1)
    if items[-1].load_s > allowed_s:
        found.append(f"{items[-1].items:,} codes took {items[-1].load_s:g} s to load; they may take {allowed_s:g} s")
    for name, over in (("code", items[-1].item_over_content), ("list", items[-1].list_over_content)):
        if over > OVER_CONTENT:
            found.append(f"a {name} takes {over:.2f} times its information content; it may {OVER_CONTENT:g} times")
    return found


def _point(space: load.Space, items: int, users: int, history: int) -> Point:
    logs.configure("WARNING")
    bundle = load.random_bundle(space)
    catalogue = Catalogue(bundle)
    # What is there once is not counted for the items.
    with private_redis() as client:
        before = used_memory(client)
        load.fill(client, load.topical_items(items), lambda done: None)  # noqa: ARG005
        item_bytes = (used_memory(client) - before) / items
        loaded = load.load(client, catalogue)
        before = used_memory(client)
        store_histories(client, items, users, history)
        user_bytes = (used_memory(client) - before) / users
        system = own_system(client, bundle, catalogue, users, items)
        cpu, wall = steps(system)
        list_bytes, list_content = lists(client)
    catalogue.close()
    return Point(
        items=items,
        users=users,
        history=history,
        cpu_ms=Cost.of(cpu),
        wall_ms=Cost.of(wall),
        load_s=loaded.seconds,
        redis_bytes_per_item=round(item_bytes, 2),
        redis_bytes_per_user=round(user_bytes, 1),
        memory_bytes_per_item=round(loaded.memory_bytes / items, 1),
        item_over_content=round(item_bytes / _item_content(items), 3),
        list_bytes=round(list_bytes, 1),
        list_over_content=round(list_bytes / list_content, 3),
    )


def _item_content(items: int) -> float:
    """Return the mean information content of an item's record in bytes."""
    return load.LATENT_DIM + sum(len(str(number)) for number in range(items)) / items
