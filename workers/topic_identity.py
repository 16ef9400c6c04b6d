"""Whether a topic is the one that the positions in Redis belong to.

An offset means nothing in a topic that was deleted and made anew, and where partitions were added an id belongs to
another partition than the one that has its history. Neither shows in the offsets.
"""

from __future__ import annotations

from typing import NamedTuple, Self

from kafka import KafkaConsumer

from workers.errors import Repairable


class TopicChanged(Repairable):
    """The topic is another than the positions in Redis are of, or has another number of partitions."""


class TopicIdentity(NamedTuple):
    """``topic_id`` is the one that Kafka gave it, empty where the brokers are older than 2.8."""

    topic_id: str
    partitions: int

    @classmethod
    def of(cls, consumer: KafkaConsumer, topic: str) -> Self | None:
        """Return the identity of ``topic`` by the newest metadata that ``consumer`` has, None where it is not there."""
        # Only the cluster knows the id: kafka-python 3.0 has no other way to it but a client of its own.
        cluster = consumer._cluster
        partitions = cluster.partitions_for_topic(topic)
        return cls(str(cluster.topic_id(topic) or ""), len(partitions)) if partitions else None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what :meth:`__str__` has written."""
        partitions, _, topic_id = text.partition(" ")
        return cls(topic_id, int(partitions))

    def __str__(self) -> str:
        """Return it as it is stored."""
        return f"{self.partitions} {self.topic_id}".rstrip()

    def require_same(self, topic: str, found: TopicIdentity) -> None:
        """Check that ``topic``, whose positions were stored as of this, is ``found`` now.

        Raises:
            TopicChanged: it was made anew, or has another number of partitions.
        """
        if self.partitions != found.partitions:
            raise TopicChanged(
                f"{topic} has {found.partitions} partitions, and what is in Redis was stored when it had "
                f"{self.partitions}: ids belong to other partitions now, and histories would be divided. Nothing "
                "is lost. To go on, move to new topics (`latentstream export`): the README has it under "
                "'When a topic changes'"
            )
        if self.topic_id and found.topic_id and self.topic_id != found.topic_id:
            raise TopicChanged(
                f"{topic} was deleted and made anew: the positions in Redis belong to the topic {self.topic_id}, this "
                f"is {found.topic_id}. To keep what is stored and read the new topic from its beginning, run "
                f"`latentstream positions accept {topic}`; to begin from nothing, delete all keys of the prefix"
            )
