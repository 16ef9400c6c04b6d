"""Users who touched items that nobody has published yet: their lists are made anew when somebody does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final, cast

import msgspec
import redis

from schemas.experiments import ArmName
from workers.arms import Arms
from workers.delivery import MAX_ARGUMENTS, Batch

_PAIR: Final = msgspec.json.Decoder(tuple[str, str])


class Waiting:
    """The pairs of item and user of one partition; mirrors the set ``key``."""

    def __init__(self, client: redis.Redis, key: str) -> None:
        self._key = key
        self._users: dict[str, set[str]] = {}
        for member in cast(set[bytes], client.smembers(key)):
            item, user = _PAIR.decode(member)
            self._users.setdefault(item, set()).add(user)

    def __len__(self) -> int:
        return len(self._users)

    @property
    def items(self) -> list[str]:
        """The items that are waited for."""
        return list(self._users)

    def pairs(self, items: Iterable[str]) -> list[tuple[str, str]]:
        """Return the pairs of those of ``items`` that are waited for."""
        return sorted((item, user) for item in items for user in self._users.get(item, ()))

    def add(self, pairs: set[tuple[str, str]], batch: Batch) -> None:
        """Remember ``pairs``, and add to ``batch`` what stores them."""
        for item, user in pairs:
            self._users.setdefault(item, set()).add(user)
        self._change(batch, "SADD", sorted(pairs))

    def remove(self, pairs: list[tuple[str, str]], batch: Batch) -> None:
        """Add to ``batch`` what deletes ``pairs``; call :meth:`forget` once that is written."""
        self._change(batch, "SREM", pairs)

    def forget(self, pairs: list[tuple[str, str]]) -> None:
        """Forget ``pairs``."""
        for item, user in pairs:
            users = self._users.get(item, set())
            users.discard(user)
            if not users:
                self._users.pop(item, None)

    def _change(self, batch: Batch, command: str, pairs: list[tuple[str, str]]) -> None:
        members = [msgspec.json.encode(pair) for pair in pairs]
        for start in range(0, len(members), MAX_ARGUMENTS):
            batch.add(self._key, command, *members[start : start + MAX_ARGUMENTS])


def unpublished(touches: Iterable[tuple[str, str]], arms: Arms) -> set[tuple[str, str]]:
    """Return those pairs of item and user whose item the user's model does not know, and may get to know.

    Of a seeded model only a new one brings new items, and it reads everything anew.
    """
    by_arm: dict[ArmName, set[tuple[str, str]]] = defaultdict(set)
    for item, user in touches:
        by_arm[arms.of(user).name].add((item, user))
    found = set()
    for arm in arms:
        pairs = set() if arm.seeded else by_arm[arm.name]
        items = list({item for item, _ in pairs})
        known = dict(zip(items, arm.catalogue.known(items), strict=True))
        found |= {(item, user) for item, user in pairs if not known[item]}
    return found
