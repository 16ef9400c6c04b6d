"""Events of a shop where everything happens: changes, deletions, retractions, dismissals, nonsense."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec
import numpy as np

from schemas.events import DISMISS, InteractionEvent, ItemEvent, encode
from schemas.settings import Settings
from tests.e2e.world import GENRES, ITEMS, USERS, features, wild

# Items beyond those of the training, and names that nobody ever publishes.
NEW_ITEMS: Final = 60
UNKNOWN: Final = 10
BAD_SHARE: Final = 0.02
_START: Final = 893_286_638.0


class Message(NamedTuple):
    """What a producer sends; ``value`` None deletes."""

    topic: str
    key: bytes
    value: bytes | None


class Stream:
    """An endless stream, the same for the same seed."""

    def __init__(self, settings: Settings, seed: int, users: int = USERS, bad_share: float = BAD_SHARE) -> None:
        self._kafka = settings.kafka
        self._random = random.Random(seed)
        self._arrays = np.random.default_rng(seed)
        self._users = users
        self._bad_share = bad_share
        self._clock = _START
        self._items = [str(number) for number in range(1, ITEMS + NEW_ITEMS + 1)]

    def catalogue(self) -> list[Message]:
        """Return an event for each item of the training, in random order."""
        items = self._items[:ITEMS]
        self._random.shuffle(items)
        return [self._good_item(item) for item in items]

    def items(self, count: int) -> list[Message]:
        """Return the next ``count`` events of items."""
        return [self._item() for _ in range(count)]

    def interactions(self, count: int) -> list[Message]:
        """Return the next ``count`` events of users."""
        return [self._interaction() for _ in range(count)]

    def touches(self, histories: dict[str, list[tuple[str, float, float, str]]]) -> Iterator[Message]:
        """Yield a repetition of the newest interaction in each history: it changes nothing but makes the lists anew."""
        for user, history in sorted(histories.items()):
            item, weight, timestamp, kind = history[-1]
            event = InteractionEvent(user_id=user, item_id=item, weight=weight, kind=kind, timestamp=timestamp)
            yield Message(self._kafka.interactions_topic, user.encode(), encode(event))

    def _item(self) -> Message:
        item = self._random.choice(self._items)
        chance = self._random.random()
        if chance < self._bad_share:
            return Message(self._kafka.items_topic, item.encode(), self._bad(item, "item_id"))
        if chance < 0.08:
            return Message(self._kafka.items_topic, item.encode(), None)
        return self._good_item(item)

    def _good_item(self, item: str) -> Message:
        chance = self._random.random()
        if chance < 0.05:
            event = wild(item, self._arrays)
        elif chance < 0.08:
            event = ItemEvent(item_id=item)
        else:
            event = ItemEvent(
                item_id=item,
                features=features(int(item) % GENRES, self._arrays),
                attributes={"title": f"Film {item}", "price": self._random.randint(1, 9) + 0.5},
                available=self._random.random() > 0.06,
            )
        return Message(self._kafka.items_topic, item.encode(), encode(event))

    def _interaction(self) -> Message:
        user = str(self._random.randint(1, self._users))
        self._clock += self._random.random()
        chance = self._random.random()
        if chance < self._bad_share:
            return Message(self._kafka.interactions_topic, user.encode(), self._bad(user, "user_id"))
        item = self._random.choice(self._items)
        if chance < self._bad_share + 0.01:
            item = f"unknown-{self._random.randrange(UNKNOWN)}"
        event = InteractionEvent(
            user_id=user,
            item_id=item,
            kind=DISMISS if self._random.random() < 0.04 else "view",
            weight=0.0 if self._random.random() < 0.06 else self._random.choice([0.5, 1.0, 2.0]),
            timestamp=self._clock,
        )
        return Message(self._kafka.interactions_topic, user.encode(), encode(event))

    def _bad(self, identifier: str, field: str) -> bytes:
        return self._random.choice(
            [
                b"{",
                msgspec.json.encode({field: f"not {identifier}", "item_id": "1"} | {field: f"not {identifier}"}),
                msgspec.json.encode({field: identifier, "item_id": 7}),
                msgspec.json.encode({field: identifier, "item_id": identifier, "schema_version": 99}),
                msgspec.json.encode({field: identifier, "item_id": identifier, "features": [1.0], "weight": -1}),
            ]
        )
