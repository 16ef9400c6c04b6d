"""The consuming side of delivery: partitions are claimed in Redis before a record of them is read."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import structlog
from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from workers import metrics
from workers.delivery import Batch, Moved, Position, PositionStore, Refused
from workers.errors import Repairable
from workers.lag import Lag
from workers.topic_identity import TopicIdentity

log = structlog.get_logger()

# Kafka's own offsets are for lag and autoscaling only, which look every few seconds.
COMMIT_INTERVAL_S: Final = 1.0
CLOSE_TIMEOUT_MS: Final = 5_000
METADATA_TIMEOUT_MS: Final = 10_000
# So soon an idle worker notices that Redis was restored to an older state, or that its partitions have a new owner.
CHECK_INTERVAL_S: Final = 1.0
# A worker that stood still learns from a newer owner that it is out of date, and from Kafka only a moment later; until
# then its partitions are still assigned to it, and it would take them away from the new owner.
REFUSED_HOLD_S: Final = 1.0


class PositionOutOfRange(Repairable):
    """The stored position is outside what the topic holds: it was truncated."""


@dataclass(slots=True)
class Owned:
    """A claimed partition."""

    partition: int
    key: str
    position: Position


@dataclass(slots=True)
class PartitionRecords:
    """Consecutive records of one claimed partition."""

    owned: Owned
    records: list[ConsumerRecord]

    @property
    def following(self) -> int:
        """The offset after the last record."""
        return int(self.records[-1].offset) + 1


class _PausedUntilClaimed(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """Notes what changes. It runs on the I/O thread, so the claims are made by the main loop."""

    def __init__(self) -> None:
        self.consumer: KafkaConsumer | None = None
        self.unclaimed: set[int] = set()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        assigned = list(assigned)
        if self.consumer is not None and assigned:
            self.consumer.pause(*assigned)
            # Any offset: without one the consumer would ask Kafka where to begin.
            for partition in assigned:
                self.consumer.seek(partition, 0)
        self.unclaimed |= {partition.partition for partition in assigned}

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self.unclaimed -= {partition.partition for partition in revoked}

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self.on_partitions_revoked(lost)


class Source:
    """Records of one topic in claimed partitions, and the commit of what was made of them.

    ``before_claim``, ``on_claimed`` and ``on_dropped`` are called with a partition from the thread that polls.
    """

    def __init__(
        self,
        consumer: KafkaConsumer,
        topic: str,
        store: PositionStore,
        position_key: Callable[[int], str],
        on_claimed: Callable[[Owned], None] = lambda owned: None,  # noqa: ARG005
        on_dropped: Callable[[int], None] = lambda partition: None,  # noqa: ARG005
        before_claim: Callable[[int], None] = lambda partition: None,  # noqa: ARG005
    ) -> None:
        self._consumer = consumer
        self._topic = topic
        self._store = store
        self._position_key = position_key
        self._on_claimed = on_claimed
        self._on_dropped = on_dropped
        self._before_claim = before_claim
        self._listener = _PausedUntilClaimed()
        self._listener.consumer = consumer
        self._committed_at = 0.0
        self._check_due = 0.0
        # Partition -> when it may be claimed again.
        self._held: dict[int, float] = {}
        self._uncommitted: dict[int, int] = {}
        self.owned: dict[int, Owned] = {}
        self.lag = Lag()
        self._subscribe()

    def poll(self, timeout_s: float) -> list[PartitionRecords]:
        """Return new records of each claimed partition; claims partitions that were just assigned.

        Raises:
            PositionOutOfRange, TopicChanged: a stored position does not fit the topic.
            redis.RedisError, KafkaError: a claim failed and will be tried again at the next poll.
        """
        finish_joining(self._consumer)
        polled = self._consumer.poll(timeout_ms=int(timeout_s * 1000))
        self.lag.see(polled)
        self._drop_unassigned()
        self._check_standing()
        newly = self._claim_assigned()
        self._commit_to_kafka()
        batches = [
            PartitionRecords(self.owned[partition.partition], records)
            for partition, records in polled.items()
            if partition.partition in self.owned and partition.partition not in newly
        ]
        for batch in list(batches):
            # It was taken away and given back while it was being claimed, and begins where the listener put it.
            if batch.records[0].offset < batch.owned.position.next:
                batches.remove(batch)
                self._release(batch.owned.partition)
        positions = ((self._topic_partition(number), owned.position.next) for number, owned in self.owned.items())
        records = {self._topic_partition(batch.owned.partition): batch.records for batch in batches}
        self.lag.note(self._consumer, positions, records)
        return batches

    def commit(self, batch: Batch, owned: Owned, following: int) -> bool:
        """Commit ``batch`` and the position ``following``; return whether it was written.

        Where it was not, the partition is claimed again at the next poll, if it is still assigned.
        """
        first = owned.position.next
        stretch = {"topic": self._topic, "partition": owned.partition, "offset": first, "following": following}
        try:
            self._store.commit(batch, owned.position, following)
        except (Refused, Moved) as error:
            metrics.REFUSED_WRITES.labels(self._topic).inc()
            log.warning("write_refused", **stretch, reason=str(error))
            self._release(owned.partition, hold=isinstance(error, Refused))
            return False
        log.debug("committed", **stretch)
        self._uncommitted[owned.partition] = following
        return True

    def rewind(self) -> None:
        """Claim everything again: after a failure, what was polled and not committed is read anew."""
        for partition in list(self.owned):
            self._release(partition)

    def change_positions(self, position_key: Callable[[int], str]) -> None:
        """Go on from other positions of the same partitions, without leaving the group."""
        self._position_key = position_key
        self.rewind()

    def close(self) -> None:
        """Commit to Kafka and leave the group."""
        try:
            if self._uncommitted:
                self._consumer.commit(self._kafka_offsets(), timeout_ms=CLOSE_TIMEOUT_MS)
        except KafkaError as error:
            log.warning("kafka_commit_failed", topic=self._topic, reason=str(error))
        self._consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)

    def _subscribe(self) -> None:
        self._consumer.subscribe([self._topic], listener=self._listener)

    def _topic_partition(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)

    def _release(self, partition: int, *, hold: bool = False) -> None:
        if hold:
            self._held[partition] = time.monotonic() + REFUSED_HOLD_S
        if self.owned.pop(partition, None) is not None:
            self._on_dropped(partition)
        self._uncommitted.pop(partition, None)
        # Kafka takes partitions away on its own thread, at any moment.
        with contextlib.suppress(KeyError):
            self._consumer.pause(self._topic_partition(partition))
            self._listener.unclaimed.add(partition)

    def _drop_unassigned(self) -> None:
        assigned = {partition.partition for partition in self._consumer.assignment()}
        for partition in set(self.owned) - assigned:
            log.info("partition_dropped", topic=self._topic, partition=partition)
            self._release(partition)

    def _check_standing(self) -> None:
        """Release what is no longer in Redis as we left it; without events, nothing else would tell."""
        if not self.owned or time.monotonic() < self._check_due:
            return
        self._check_topic()
        owners = list(self.owned.values())
        for owned, stored in zip(owners, self._store.standing([one.key for one in owners]), strict=True):
            ours = owned.position.epoch, owned.position.next, owned.position.commits
            if stored != ours:
                log.warning(
                    "position_changed",
                    topic=self._topic,
                    partition=owned.partition,
                    reason=f"epoch, offset and commits in Redis are {stored}, not {ours}: the partition has a new "
                    "owner, or Redis was restored to an older state",
                )
                self._release(owned.partition, hold=stored[0] > owned.position.epoch)
        self._check_due = time.monotonic() + CHECK_INTERVAL_S

    def _check_topic(self) -> None:
        found = TopicIdentity.of(self._consumer, self._topic)
        if found is not None:
            stored = self._store.first_known(self._topic, str(found))
            TopicIdentity.parse(stored).require_same(self._topic, found)

    def _claim_assigned(self) -> set[int]:
        """Claim, seek and resume what was assigned; return the partitions."""
        newly: set[int] = set()
        if self._listener.unclaimed:
            self._check_topic()
        for partition in sorted(self._listener.unclaimed):
            target = self._topic_partition(partition)
            if time.monotonic() < self._held.get(partition, 0.0) or target not in self._consumer.assignment():
                continue
            # An eager rebalance hands the same partition out again: it is claimed anew all the same.
            if self.owned.pop(partition, None) is not None:
                self._on_dropped(partition)
            owned = self._claim(target)
            try:
                self._consumer.seek(target, owned.position.next)
                self._consumer.resume(target)
            except (ValueError, KeyError):
                # It was taken away meanwhile; if it is given back, the listener says so.
                continue
            self.owned[partition] = owned
            # The last owner may have ended before it told Kafka, and here may be no more events.
            self._uncommitted[partition] = owned.position.next
            self._listener.unclaimed.discard(partition)
            newly.add(partition)
            log.info(
                "partition_claimed",
                topic=self._topic,
                partition=partition,
                epoch=owned.position.epoch,
                offset=owned.position.next,
            )
            self._on_claimed(owned)
        return newly

    def _claim(self, target: TopicPartition) -> Owned:
        first = self._consumer.beginning_offsets([target], timeout_ms=METADATA_TIMEOUT_MS)[target]
        key = self._position_key(target.partition)
        self._before_claim(target.partition)
        position = self._store.claim(key, first)
        # After the claim: until then the last owner may move the position on.
        end = self._consumer.end_offsets([target], timeout_ms=METADATA_TIMEOUT_MS)[target]
        if not first <= position.next <= end:
            raise PositionOutOfRange(
                f"{target.topic}[{target.partition}] holds offsets {first} to {end}, and the position in Redis is "
                f"{position.next}: {_what_is_gone(first, position.next, end)}. To go on without them, run "
                f"`latentstream positions accept {target.topic}`; to begin from nothing, delete all keys of the prefix"
            )
        return Owned(target.partition, key, position)

    def _kafka_offsets(self) -> dict[TopicPartition, OffsetAndMetadata]:
        uncommitted, self._uncommitted = self._uncommitted, {}
        # A copy, because Kafka's thread may be about to give some back to the dictionary it still sees.
        return {
            self._topic_partition(partition): OffsetAndMetadata(offset, "", -1)
            for partition, offset in list(uncommitted.items())
        }

    def _commit_to_kafka(self) -> None:
        if self._uncommitted and time.monotonic() - self._committed_at > COMMIT_INTERVAL_S:
            self._committed_at = time.monotonic()
            self._consumer.commit_async(self._kafka_offsets(), callback=self._note_answer)

    def _note_answer(self, offsets: dict[TopicPartition, OffsetAndMetadata], answer: object) -> None:
        """Log that Kafka did not take ``offsets``, and give those again that are still ours and the newest."""
        if isinstance(answer, Exception):
            metrics.count_failure(answer)
            log.warning("kafka_commit_failed", topic=self._topic, reason=str(answer))
            for target, told in offsets.items():
                if target.partition in self.owned:
                    self._uncommitted.setdefault(target.partition, told.offset)


def _what_is_gone(first: int, position: int, end: int) -> str:
    if position < first:
        return f"{first - position} events were removed before they were processed (by retention or by hand)"
    return f"the topic has lost its last {position - end} events, which were processed"


def finish_joining(consumer: KafkaConsumer) -> None:
    """Make the next poll go on with a join that the last one began. Call it before every poll.

    When the leader of a group joins again because it has learnt of the topic's partitions, and a poll
    times out between the answers to JoinGroup and SyncGroup, kafka-python 3.0.12 no longer sees a reason
    to join: the answer is dropped, heartbeats stay off, and the consumer never gets a partition again.
    On a busy machine one start in five ended so.
    """
    coordinator = consumer._coordinator
    if coordinator.rejoining:
        coordinator.request_rejoin()
