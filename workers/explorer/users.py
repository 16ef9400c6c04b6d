"""A user as the explorer shows one: the history and the lists, read again while somebody looks."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Final, NamedTuple

import msgspec
import redis
import structlog

from schemas.documents import Recommendations
from schemas.keys import DEFAULT_PROFILE, UserKeys, bucket_of
from schemas.records import History, unpack_history
from workers.background import Background
from workers.explorer.system import System
from workers.withdrawn import without_withdrawn

log = structlog.get_logger()

EVERY_S: Final = 0.2
# Interactions that are shown, the newest.
SHOWN: Final = 100
# Whoever looks for one more user lets the one be forgotten that was looked at longest ago.
_MOST_USERS: Final = 200
_UNSEEN_AFTER_S: Final = 5.0
_LIST: Final = msgspec.json.Decoder(Recommendations)


class ShownTouch(msgspec.Struct, frozen=True):
    """One interaction of a history."""

    item_id: str
    title: str | None
    kind: str
    weight: float
    at: float


class ShownItem(msgspec.Struct, frozen=True):
    """One item of a list."""

    item_id: str
    title: str | None
    score: float


class ShownList(msgspec.Struct, frozen=True):
    """A finished list; ``source`` says whether it is the user's own, or that of what is popular."""

    profile: str
    source: str
    model: str
    generated_at: float
    items: list[ShownItem]


class User(msgspec.Struct, frozen=True):
    """A user. Somebody unknown has no history, and the popular lists."""

    user_id: str
    interactions: int
    history: list[ShownTouch]
    lists: list[ShownList]


class _Raw(NamedTuple):
    history: bytes | None
    lists: list[bytes | None]


class _Watched:
    def __init__(self) -> None:
        self.partition: int | None = None
        self.raw: _Raw | None = None
        self.number = 0
        self.data = b""
        self.seen_at = 0.0


class Users(Background):
    """Reads the users that somebody looks at, all in one round trip, and notices what has changed."""

    def __init__(self, system: System) -> None:
        super().__init__("users")
        self._system = system
        self._profiles = list(dict.fromkeys([DEFAULT_PROFILE, *system.settings.recommend.profiles]))
        self._lock = threading.Lock()
        self._watched: OrderedDict[str, _Watched] = OrderedDict()

    def changed(self, user_id: str, number: int) -> tuple[int, bytes] | None:
        """Return the newest state of a user as JSON, None where it is the one of ``number``; it is watched from now on.

        The first call for a user returns None.
        """
        with self._lock:
            watched = self._watched.setdefault(user_id, _Watched())
            self._watched.move_to_end(user_id)
            watched.seen_at = time.monotonic()
            while len(self._watched) > _MOST_USERS:
                self._watched.popitem(last=False)
            return None if watched.number == number else (watched.number, watched.data)

    def read(self, user_id: str) -> User:
        """Return a user as he is now."""
        (raw,) = self._read({user_id: _Watched()})
        return self._shown(user_id, raw)

    def history(self, user_id: str) -> History:
        """Return the whole history of a user, oldest first."""
        (raw,) = self._read({user_id: _Watched()})
        return unpack_history(raw.history)

    def loop(self) -> None:
        """Read while somebody looks."""
        while not self.stopping.wait(EVERY_S):
            with self._lock:
                now = time.monotonic()
                for name in [name for name, one in self._watched.items() if now - one.seen_at > _UNSEEN_AFTER_S]:
                    del self._watched[name]
                watched = dict(self._watched)
            if not watched:
                continue
            try:
                for (name, one), raw in zip(watched.items(), self._read(watched), strict=True):
                    if raw != one.raw:
                        self._take(name, one, raw)
            except redis.RedisError as error:
                # The live view says so to whoever looks.
                log.warning("users_retrying", error=type(error).__name__, reason=str(error))
            except (ValueError, msgspec.MsgspecError) as error:
                log.error("users_unreadable", reason=str(error))

    def _take(self, name: str, one: _Watched, raw: _Raw) -> None:
        try:
            data = msgspec.json.encode(self._shown(name, raw))
        except (ValueError, msgspec.MsgspecError) as error:
            data = msgspec.json.encode({"problem": f"what is stored of this user cannot be read: {error}"})
        with self._lock:
            one.raw, one.data, one.number = raw, data, one.number + 1

    def _read(self, watched: dict[str, _Watched]) -> list[_Raw]:
        """Return what Redis has of each: two round trips. Where a history is, is remembered."""
        system = self._system
        every = [system.keys.users(number) for number in range(system.user_partitions)]
        homes = {name: every if one.partition is None else [every[one.partition]] for name, one in watched.items()}
        needed = {users.partition: users for places in homes.values() for users in places}
        pipeline = system.redis.pipeline(transaction=False)
        for users in needed.values():
            pipeline.hget(users.position, "buckets")
        buckets = {number: int(count or 1) for number, count in zip(needed, pipeline.execute(), strict=True)}
        for name, places in homes.items():
            for users in places:
                pipeline.hget(_histories(users, name, buckets), name)
            pipeline.mget([system.keys.recommendations(name, profile) for profile in self._profiles])
        pipeline.mget([system.keys.popular(profile) for profile in self._profiles])
        replies = pipeline.execute()
        popular = replies.pop()
        found = []
        for name, places in homes.items():
            stored = [replies.pop(0) for _ in places]
            own = replies.pop(0)
            here = next((number for number, data in enumerate(stored) if data), None)
            if here is not None:
                watched[name].partition = places[here].partition
            lists = [one or everyones for one, everyones in zip(own, popular, strict=True)]
            found.append(_Raw(None if here is None else stored[here], lists))
        return found

    def _shown(self, user_id: str, raw: _Raw) -> User:
        history = unpack_history(raw.history)
        newest = history[: -SHOWN - 1 : -1]
        system = self._system
        lists = [
            without_withdrawn(_LIST.decode(data), system.redis, system.keys) for data in raw.lists if data is not None
        ]
        titles = system.titles(
            [touch.item_id for touch in newest] + [item for document in lists for item in document.items]
        )
        return User(
            user_id,
            len(history),
            [
                ShownTouch(touch.item_id, titles.get(touch.item_id), touch.kind, touch.weight, touch.timestamp)
                for touch in newest
            ],
            [
                ShownList(
                    document.profile,
                    document.source,
                    document.model,
                    document.generated_at,
                    [
                        ShownItem(item, titles.get(item), score)
                        for item, score in zip(document.items, document.scores, strict=True)
                    ],
                )
                for document in lists
            ],
        )


def _histories(users: UserKeys, name: str, buckets: dict[int, int]) -> str:
    return users.histories(bucket_of(name, buckets[users.partition]))
