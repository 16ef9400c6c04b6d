"""A live system to change models under: events all the time, and readers who keep all that they see."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np
import redis

from models.bundle import Bundle
from schemas.documents import Recommendations
from schemas.events import InteractionEvent, ItemEvent, encode
from schemas.keys import Keys
from schemas.settings import Settings
from tests.e2e.world import features, genre_of
from workers import connections
from workers.catalogue import Catalogue
from workers.follower import Follower

_SCORE_TOLERANCE = 2e-4


class Touch(NamedTuple):
    """An interaction that Kafka has acknowledged."""

    partition: int
    offset: int
    item_id: str
    weight: float


class Stream:
    """Publishes interactions of known users, and new items, at an even rate, on a thread of its own."""

    def __init__(self, settings: Settings, items: int) -> None:
        self._settings = settings
        self._items = items
        self._producer = connections.producer(settings, linger_ms=5)
        self._going = threading.Event()
        self._stopping = False
        self._idle = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.touches: dict[str, list[Touch]] = defaultdict(list)

    @property
    def published(self) -> int:
        """How many interactions Kafka has acknowledged."""
        return sum(map(len, list(self.touches.values())))

    def publish(self, events: Sequence[InteractionEvent]) -> None:
        """Publish interactions and remember where they stand."""
        topic = self._settings.kafka.interactions_topic
        sent = [self._producer.send(topic, key=event.user_id.encode(), value=encode(event)) for event in events]
        for event, future in zip(events, sent, strict=True):
            where = future.get(timeout=30)
            self.touches[event.user_id].append(Touch(where.partition, where.offset, event.item_id, event.weight))

    def repeat(self) -> None:
        """Publish everybody's last interaction once more, which changes nothing but the time of it."""
        last = {user: touches[-1] for user, touches in self.touches.items()}
        self.publish([InteractionEvent(user, touch.item_id, weight=touch.weight) for user, touch in last.items()])

    def start(self) -> None:
        """Begin, or go on."""
        if not self._thread.is_alive():
            self._thread.start()
        self._idle.clear()
        self._going.set()

    def pause(self) -> None:
        """Publish nothing more for now; all of it is acknowledged then."""
        self._going.clear()
        assert self._idle.wait(30)

    def close(self) -> None:
        """End."""
        self._stopping = True
        self._going.set()
        if self._thread.is_alive():
            self._thread.join(30)
        self._producer.close()

    def _run(self) -> None:
        rng, arrays = random.Random(5), np.random.default_rng(5)
        users = sorted(self.touches)
        number = 0
        while not self._stopping:
            if not self._going.is_set():
                self._idle.set()
                self._going.wait()
                continue
            number += 1
            self.publish(
                [
                    InteractionEvent(user_id=rng.choice(users), item_id=str(rng.randint(1, self._items)))
                    for _ in range(3)
                ]
            )
            if number % 5 == 0:
                name = f"live-{number}"
                event = ItemEvent(item_id=name, features=features(number % 5, arrays))
                self._producer.send(self._settings.kafka.items_topic, key=name.encode(), value=encode(event))
            time.sleep(0.05)


@dataclass
class Seen:
    """What readers met."""

    reads: int = 0
    missing: list[str] = field(default_factory=list)
    documents: set[bytes] = field(default_factory=set)


class Readers:
    """Reads the lists of all users, and what is popular, again and again."""

    def __init__(self, client: redis.Redis, keys: Keys, users: Sequence[str]) -> None:
        self._redis = client
        self._keys = [*map(keys.recommendations, users), keys.popular()]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.seen = Seen()

    def __enter__(self) -> Seen:
        self._thread.start()
        return self.seen

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._stopping.wait(0.01):
            found: Any = self._redis.mget(self._keys)
            self.seen.reads += len(found)
            self.seen.missing += [key for key, document in zip(self._keys, found, strict=True) if not document]
            self.seen.documents.update(filter(None, found))


class Judge:
    """Says of a list whether the model that it names has made it, all of it."""

    def __init__(self, settings: Settings, client: redis.Redis, bundle: Bundle, partitions: int) -> None:
        self._bundle = bundle
        self._catalogue = Catalogue(bundle)
        keys = Keys(settings.redis.prefix)
        self._follower = Follower(client, keys, bundle.version, partitions, self._catalogue)
        self._follower.start()
        assert self._follower.loaded.wait(60)

    def close(self) -> None:
        """End the follower."""
        self._follower.close()
        self._catalogue.close()

    def faults(self, documents: Sequence[Recommendations], touches: dict[str, list[Touch]]) -> list[str]:
        """Return what is wrong with lists of this model, in words."""
        found = []
        for document in documents:
            following = int(document.order.partition("-")[2])
            own = [touch for touch in touches[document.user_id] if touch.offset < following]
            history = {touch.item_id: touch.weight for touch in own}
            slots = self._catalogue.slots(list(history))
            weights = np.fromiter(history.values(), np.float32)
            bags, _ = self._catalogue.bags(slots, weights, np.array([0, len(slots)]))
            (user,) = self._bundle.space.user_codes(bags)
            listed = self._catalogue.slots(document.items)
            scores = self._catalogue.retrieval_vectors(listed) @ np.append(user, np.float32(1))
            wrong = np.abs(scores - document.scores) > _SCORE_TOLERANCE * np.maximum(np.abs(scores), 1)
            if wrong.any() or set(document.items) & set(history):
                found.append(f"{document.user_id}: {document.order} has {wrong.sum()} scores of another model")
        return found


def decoded(documents: set[bytes]) -> list[Recommendations]:
    """Return lists as they were read."""
    return [msgspec.json.decode(document, type=Recommendations) for document in documents]


def all_items(items: Sequence[ItemEvent], count: int) -> list[ItemEvent]:
    """Return ``items`` and more of their kind, ``count`` in all."""
    arrays = np.random.default_rng(17)
    more = [
        ItemEvent(item_id=str(number), features=features(genre_of(str(number)), arrays))
        for number in range(len(items) + 1, count + 1)
    ]
    return [*items, *more]
