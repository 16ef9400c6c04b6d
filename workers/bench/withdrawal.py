"""``latentstream bench withdrawal``: how soon an item that is gone has left the finished lists of many users."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import msgspec
import redis

from schemas.documents import Recommendations
from schemas.events import encode
from schemas.keys import Keys
from workers import connections
from workers.bench import synthetic
from workers.bench.latency import percentile
from workers.sandbox import Backlog, Sandbox, SandboxError
from workers.subprocesses import Workers, run_command

NAME: Final = "bench-withdrawal"
# Quality does not matter here.
CHANGES: Final[dict[str, dict[str, Any]]] = {"model": {"interaction_epochs": 5, "content": {"latent_dim": 16}}}
INTERACTIONS_OF_A_USER: Final = 5
PATIENCE_S: Final = 120.0
SENT_TIMEOUT_S: Final = 30.0
_LISTS_AT_A_TIME: Final = 2000
_POLL_S: Final = 0.002
# The list of so many users tells which items many have.
_SAMPLE: Final = 2000
_LIST: Final = msgspec.json.Decoder(Recommendations)

Say = Callable[[str], None]


class Withdrawal(msgspec.Struct, frozen=True):
    """One item. ``left_out_s`` is when readers began to leave it out, ``half_s`` and ``all_s`` when half and all of
    its lists had lost it; all after its event.
    """

    lists: int
    left_out_s: float
    half_s: float
    p99_s: float
    all_s: float


class Result(msgspec.Struct, frozen=True):
    """What was measured, from the item in the fewest lists to the one in the most."""

    users: int
    items: int
    list_length: int
    withdrawals: list[Withdrawal]


def measure(users: int, say: Say) -> Result:
    """Fill the lists of ``users``, then withdraw items that more and more of them have.

    Raises:
        StackError, ConnectionFailed, SandboxError: what a person must repair.
    """
    sandbox = Sandbox.open(NAME, say, CHANGES)
    data = synthetic.make(people=users, each=INTERACTIONS_OF_A_USER)
    say(f"Publishing {len(data.films):,} items and {len(data.interactions):,} interactions of {users:,} users.")
    sandbox.publish(film.event() for film in data.films.values())
    sandbox.publish(data.interactions)
    run_command(sandbox, "train", quiet=True)
    client = connections.redis_client(sandbox.settings.redis)
    people = list(data.people)
    with Workers(sandbox) as workers:
        workers.wait_ready()
        backlog = Backlog(sandbox, client)
        workers.wait_done(lambda: backlog.items() + backlog.interactions())
        backlog.close()
        sample = _lists(client, sandbox.keys, people[:_SAMPLE])
        by_count = [item for item, _ in Counter(item for items in sample.values() for item in items).most_common()]
        producer = connections.producer(sandbox.settings, linger_ms=0)
        found = []
        # The last one first: each leaves the lists as they are for the next, but for one place.
        for place in (len(by_count) // 2, len(by_count) // 10, 0):
            holders = [user for user, items in _lists(client, sandbox.keys, people).items() if by_count[place] in items]
            say(f"Withdrawing an item from {len(holders):,} lists.")
            event = msgspec.structs.replace(data.films[by_count[place]].event(), available=False)
            began = time.monotonic()
            producer.send(sandbox.settings.kafka.items_topic, key=event.item_id.encode(), value=encode(event))
            found.append(_watched(client, sandbox.keys, holders, by_count[place], began))
            workers.check()
        producer.close(timeout=SENT_TIMEOUT_S)
    return Result(users, len(data.films), sandbox.settings.recommend.k, found)


def _watched(client: redis.Redis, keys: Keys, holders: Sequence[str], item: str, began: float) -> Withdrawal:
    """Wait until readers leave the item out; then read the lists of ``holders`` until none of them has it."""

    def check_patience(what: str) -> None:
        if time.monotonic() - began > PATIENCE_S:
            raise SandboxError(f"{what} the item {item} after {PATIENCE_S:.0f} s")

    while client.zscore(keys.withdrawn, item) is None:
        check_patience("readers are not told to leave out")
        time.sleep(_POLL_S)
    left_out = time.monotonic() - began
    left, seconds = list(holders), []
    while left:
        check_patience(f"{len(left):,} lists still have")
        part, left = left[:_LISTS_AT_A_TIME], left[_LISTS_AT_A_TIME:]
        still = [user for user, items in _lists(client, keys, part).items() if item in items]
        seconds += [time.monotonic() - began] * (len(part) - len(still))
        left += still
    ordered = sorted(seconds)
    figures = (round(percentile(ordered, share), 3) for share in (50, 99, 100))
    return Withdrawal(len(holders), round(left_out, 3), *figures)


def _lists(client: redis.Redis, keys: Keys, users: Sequence[str]) -> dict[str, list[str]]:
    """Return the items in the list of each of ``users``."""
    found = {}
    for start in range(0, len(users), _LISTS_AT_A_TIME):
        names = users[start : start + _LISTS_AT_A_TIME]
        stored = cast(list[bytes | None], client.mget([keys.recommendations(name) for name in names]))
        found.update({name: _LIST.decode(data).items if data else [] for name, data in zip(names, stored, strict=True)})
    return found
