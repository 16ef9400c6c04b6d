"""What all parts of the explorer read: the settings, one Redis client, and who has how many partitions."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final, cast

import redis

from schemas.keys import Keys
from schemas.settings import Settings
from workers.cli.stored_items import StoredItems
from workers.topic_identity import TopicIdentity

# So long what hardly ever changes is not asked for again.
_KEPT_S: Final = 2.0
_TITLES_KEPT_S: Final = 30.0
_MOST_TITLES: Final = 50_000


class System:
    """A system of workers, seen through Redis. Thread-safe."""

    def __init__(self, settings: Settings, client: redis.Redis) -> None:
        self.settings = settings
        self.redis = client
        self.keys = Keys(settings.redis.prefix)
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._counted_at = -_KEPT_S
        self._titles: dict[str, str | None] = {}
        self._titles_at = 0.0

    @property
    def item_partitions(self) -> int:
        """Partitions of the topic of items."""
        return self._partitions(self.settings.kafka.items_topic)

    @property
    def user_partitions(self) -> int:
        """Partitions of the topic of interactions."""
        return self._partitions(self.settings.kafka.interactions_topic)

    def items(self) -> StoredItems:
        """Return the items under the version that serves now."""
        return StoredItems(self.redis, self.keys, self.item_partitions)

    def titles(self, item_ids: Sequence[str]) -> dict[str, str]:
        """Return the titles of those items that have one; a title may be half a minute old."""
        with self._lock:
            now = time.monotonic()
            if now - self._titles_at > _TITLES_KEPT_S or len(self._titles) > _MOST_TITLES:
                self._titles, self._titles_at = {}, now
            kept = self._titles
        wanted = dict.fromkeys(item_ids)
        missing = [item for item in wanted if item not in kept]
        if missing:
            found = self.items().titles(missing)
            kept.update((item, found.get(item)) for item in missing)
        return {item: title for item in wanted if (title := kept[item]) is not None}

    def _partitions(self, topic: str) -> int:
        """Return what the workers have written down, before that what topics are created with."""
        with self._lock:
            now = time.monotonic()
            if now - self._counted_at > _KEPT_S:
                stored = cast(dict[bytes, bytes], self.redis.hgetall(self.keys.topics))
                self._counts = {
                    name.decode(): TopicIdentity.parse(value.decode()).partitions for name, value in stored.items()
                }
                self._counted_at = now
            return self._counts.get(topic, self.settings.kafka.partitions)
