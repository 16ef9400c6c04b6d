"""The positions of all partitions beside what the topics hold, and what takes them over gaps that a person accepts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

import redis
from kafka import KafkaConsumer

from schemas.keys import Keys
from schemas.settings import Settings
from workers.delivery import Batch, Moved, PositionStore, Refused
from workers.errors import Repairable
from workers.experiments import read_experiment
from workers.lookup import current_version
from workers.topic_identity import TopicIdentity
from workers.topic_reader import bounds
from workers.versions import Versions


class Standing(NamedTuple):
    """One partition: the position in Redis (None before the first worker) and the offsets that the topic holds."""

    topic: str
    partition: int
    version: str
    key: str
    following: int | None
    first: int
    end: int

    @property
    def is_outside(self) -> bool:
        """Whether the topic does not hold what comes next."""
        return self.following is not None and not self.first <= self.following <= self.end


class Accepted(NamedTuple):
    """A position that was moved, and how many events lie between."""

    standing: Standing
    to: int


class Positions:
    """Positions of ``items`` (of the current model and all others in use) and ``interactions``."""

    def __init__(self, settings: Settings, client: redis.Redis, consumer: KafkaConsumer) -> None:
        self._settings = settings.kafka
        self._redis = client
        self._keys = Keys(settings.redis.prefix)
        self._store = PositionStore(client, self._keys)
        self._consumer = consumer

    def standings(self, topic: str) -> list[Standing]:
        """Return how each partition of ``topic`` stands.

        Raises:
            Repairable: it is not one of the two topics, or does not exist.
        """
        self._identity(topic)
        first, end = bounds(self._consumer, topic)
        found = []
        for version, keys in self._position_keys(topic, len(first)):
            for partition, key in zip(sorted(first), keys, strict=True):
                following = cast(bytes | None, self._redis.hget(key, "next"))
                offset = None if following is None else int(following)
                held = first[partition], end[partition]
                found.append(Standing(topic, partition.partition, version, key, offset, *held))
        return found

    def _identity(self, topic: str) -> TopicIdentity:
        # Asks Kafka; only then is there an identity.
        if not self._consumer.partitions_for_topic(topic) or not (found := TopicIdentity.of(self._consumer, topic)):
            raise Repairable(f"topic {topic!r} does not exist")
        return found

    def _is_another(self, topic: str, found: TopicIdentity) -> bool:
        stored = cast(bytes | None, self._redis.hget(self._keys.topics, topic))
        if stored is None:
            return False
        known = TopicIdentity.parse(stored.decode())
        # No position makes up for another number of partitions.
        known._replace(topic_id="").require_same(topic, found)
        return bool(known.topic_id and found.topic_id) and known.topic_id != found.topic_id

    def accept(self, topic: str) -> Iterator[Accepted]:
        """Move each position of ``topic`` that is outside of it, yielding those; all, where it was made anew.

        A position before the first event goes there, one behind the end goes to the end. What is stored stays. A worker
        that runs is refused from then on, and claims the partition again.

        Raises:
            Repairable: it is not one of the two topics, or does not exist, or its number of partitions has changed.
        """
        found = self._identity(topic)
        another = self._is_another(topic, found)
        for one in self.standings(topic):
            if one.following is not None and (another or one.is_outside):
                to = one.first if another or one.following < one.first else one.end
                self._move(one, to)
                yield Accepted(one, to)
        self._store.take_over(topic, str(found))

    def _move(self, standing: Standing, to: int) -> None:
        position = self._store.claim(standing.key, to)
        batch = Batch(standing.key)
        if standing.topic == self._settings.items_topic:
            # Its entries are named by offsets. Followers see that their position is not the stored one, and load anew.
            batch.add(self._keys.items(standing.version, standing.partition).log, "DEL")
        try:
            self._store.commit(batch, position, to)
        except (Refused, Moved) as error:
            raise Repairable(
                f"{standing.topic}[{standing.partition}]: a worker took it meanwhile ({error}). Stop the workers and "
                "run this again"
            ) from error

    def _position_keys(self, topic: str, partitions: int) -> Iterator[tuple[str, list[str]]]:
        if topic == self._settings.interactions_topic:
            yield "", [self._keys.users(partition).position for partition in range(partitions)]
        elif topic == self._settings.items_topic:
            experiment = read_experiment(self._redis, self._keys)
            challenger = experiment.challenger if experiment else None
            known = [current_version(self._redis, self._keys), challenger, *Versions(self._redis, self._keys).ages()]
            for version in dict.fromkeys(known):
                if version is not None:
                    yield version, [self._keys.items(version, partition).position for partition in range(partitions)]
        else:
            raise Repairable(
                f"{topic!r} has no positions; the topics are {self._settings.items_topic} and "
                f"{self._settings.interactions_topic}"
            )
