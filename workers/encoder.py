"""``items`` -> batch -> encode -> compress -> marked items to Kafka, codes to Redis buckets and change log.

Behind a backlog two batches are in work: the main thread stores one and polls and decodes the next, while the model
encodes on a thread of its own, mostly without Python's lock. All that knows Kafka and Redis stays on the main thread,
in the order of the offsets. With less to do a batch is finished before the next is looked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import redis
from kafka import KafkaConsumer
from numpy.typing import NDArray

from models.bundle import Bundle
from models.content import Encoded
from schemas.keys import Keys
from schemas.records import pack_codes, version_tag
from schemas.settings import Settings
from workers import metrics
from workers.anomalies import Anomalies, marked_items
from workers.dead_letters import DeadLetters, Rejected
from workers.decoding import Decoded, ItemChange, decode_records, item_decoder
from workers.delivery import PositionStore
from workers.drift import ItemDrift
from workers.items import item_batch, shortened_log
from workers.limited_source import Limits, source_of
from workers.old_versions import finish_removal
from workers.source import Owned, PartitionRecords
from workers.tracing import begin, ending, stage

if TYPE_CHECKING:
    from workers.spans import Span

# An entry of the change log is removed when it is one to two times as old, or earlier where there are many.
LOG_AGE_S: Final = 60.0


@dataclass(slots=True)
class DecodedItems:
    """A batch of all partitions: what changes, and the last change of each item in its partition.

    ``features`` are float32 ``[n, input_dim]``, those of the ``rows`` of all latest changes that have any.
    """

    parts: list[Decoded[ItemChange]]
    rejected: list[Rejected]
    latest: list[list[ItemChange]]
    rows: list[int]
    features: NDArray[np.float32] | None
    span: Span | None = None

    @property
    def changes(self) -> list[ItemChange]:
        """The latest changes of all partitions."""
        return [change for changes in self.latest for change in changes]

    @property
    def total(self) -> int:
        """The number of records."""
        return sum(part.total for part in self.parts)


class Encoder:
    """Keeps the codes of the catalogue under one model version.

    Args:
        dead_letters: None where another encoder meets the same events and publishes them.
        told: returns how far the dead letters of a partition are published already, whatever its position.
        limits: what a second encoder is limited by; its consumer is in no group.
    """

    def __init__(
        self,
        settings: Settings,
        client: redis.Redis,
        consumer: KafkaConsumer,
        dead_letters: DeadLetters | None,
        anomalies: Anomalies,
        bundle: Bundle,
        told: Callable[[int], int] = lambda partition: 0,  # noqa: ARG005
        limits: Limits | None = None,
    ) -> None:
        self._settings = settings
        self._keys = Keys(settings.redis.prefix)
        self._redis = client
        self._dead_letters = dead_letters
        self._anomalies = anomalies
        self._told = told
        # By partition, as of its claim.
        self._told_to: dict[int, int] = {}
        self._log_events = settings.recommend.log_events
        self._thread = ThreadPoolExecutor(1, "encode")
        # The batch in work, and whether none came after it.
        self._encoding: tuple[DecodedItems, Future[Encoded | None]] | None = None
        self._idle = True
        self._shorten_due = 0.0
        self._use(bundle)
        self.source = source_of(
            consumer,
            settings.kafka.items_topic,
            PositionStore(client, self._keys),
            self._position_key,
            limits=limits,
            on_claimed=self._on_claimed,
            before_claim=lambda partition: finish_removal(client, self._keys.items(self.version, partition)),
        )

    def take_over(self, bundle: Bundle) -> None:
        """Go on under another model, from where its items are encoded up to; what is in work is read again.

        Nothing is waited for: it cannot fail half way.
        """
        self._encoding = None
        self._use(bundle)
        self.source.change_positions(self._position_key)

    def step(self, batches: list[PartitionRecords]) -> None:
        """Begin to encode ``batches``, and store the ones before: the steps of ``workers.delivery``.

        Where nothing waits behind them, they are stored at once as well.
        """
        work = self.decode(batches)
        earlier, self._encoding = self._encoding, (work, self._thread.submit(self.encode, work))
        self._idle = False
        if earlier is not None:
            self._finish(*earlier)
        if not self.source.lag.unread:
            self.finish()

    def between(self) -> bool:
        """Finish what no other batch came after, and shorten the change logs once in a while.

        Returns whether a batch is in work.
        """
        if self._idle:
            self.finish()
        self._idle = True
        if time.monotonic() >= self._shorten_due:
            self._shorten_due = time.monotonic() + LOG_AGE_S
            for owned in list(self.source.owned.values()):
                self._shorten_log(owned)
        return self._encoding is not None

    def finish(self) -> None:
        """Store the batch in work, if there is one."""
        earlier, self._encoding = self._encoding, None
        if earlier is not None:
            self._finish(*earlier)

    def rewind(self) -> None:
        """Forget the batch in work, and claim everything again."""
        self._encoding = None
        self.source.rewind()

    def close(self) -> None:
        """Leave the consumer group, and end the thread."""
        self._thread.shutdown()
        self.source.close()

    def decode(self, batches: list[PartitionRecords]) -> DecodedItems:
        """Return what ``batches`` change; only the last change of an item in its partition is worth encoding."""
        # A second encoder meets the same events.
        span = None if self._dead_letters is None else begin(self._settings.kafka.items_topic, batches)
        with stage("decode", span):
            parts, rejected = decode_records(batches, self._decode)
            latest = [list({change.item_id: change for change in part.changes}.values()) for part in parts]
            vectors = [change.vector for changes in latest for change in changes]
            rows = [row for row, vector in enumerate(vectors) if vector is not None and self._content is not None]
            features = np.stack([vector for vector in vectors if vector is not None]) if rows else None
            return DecodedItems(parts, rejected, latest, rows, features, span)

    def encode(self, work: DecodedItems) -> Encoded | None:
        """Return what becomes of the features; None where there are none."""
        if self._content is None or work.features is None:
            return None
        with stage("encode", work.span):
            return self._content.encode(work.features)

    def store(self, work: DecodedItems, encoded: Encoded | None) -> None:
        """Publish what is rejected and marked, and commit the rest."""
        changes = work.changes
        untold = [one for one in work.rejected if one.record.offset >= self._told_to.get(one.record.partition, 0)]
        marked = [] if encoded is None else marked_items(self.version, changes, work.rows, encoded)
        if self._dead_letters is not None:
            with stage("dead_letters", work.span):
                self._dead_letters.publish(untold)
        with stage("anomalies", work.span):
            self._anomalies.publish(marked)
        with stage("commit", work.span):
            records = iter(self._records(changes, work.rows, encoded))
            traceparent = None if work.span is None else work.span.traceparent
            for part, latest in zip(work.parts, work.latest, strict=True):
                own = {change.item_id: next(records) for change in latest}
                self._commit(part, latest, own, traceparent)
        metrics.BATCH_EVENTS.observe(work.total)
        if self._drift is not None:
            self._drift.observe(work.parts, work.latest, work.rows, encoded)
            self._drift.publish(self.source.owned.values())
        if self._dead_letters is not None:
            self._dead_letters.check_limit(work.total, untold)

    def _use(self, bundle: Bundle) -> None:
        self.version = bundle.version
        self._tag = version_tag(bundle.version)
        self._content = bundle.content
        # A second encoder meets the same events.
        self._drift = ItemDrift(self._settings, self._redis, bundle) if self._dead_letters is not None else None
        # Where each partition stood when the logs were last shortened.
        self._log_marks: dict[int, int] = {}
        shape = bundle.content.input_shape if bundle.content else None
        self._decode = item_decoder(self._settings.events.max_bytes, shape)

    def _position_key(self, partition: int) -> str:
        return self._keys.items(self.version, partition).position

    def _on_claimed(self, owned: Owned) -> None:
        self._told_to[owned.partition] = self._told(owned.partition)

    def _finish(self, work: DecodedItems, encoded: Future[Encoded | None]) -> None:
        with ending(work.span):
            self.store(work, encoded.result())

    def _records(self, changes: list[ItemChange], rows: list[int], encoded: Encoded | None) -> list[bytes | None]:
        """Return the packed record of each change, None for a deletion; ``encoded`` are those in ``rows``."""
        available = np.array([change.event is not None and change.event.available for change in changes], bool)
        packed: dict[int, bytes] = {}
        if encoded is not None:
            packed = dict(zip(rows, self._packed(available[rows], encoded), strict=True))
        bare = [row for row, change in enumerate(changes) if change.event is not None and row not in packed]
        nothing = np.zeros(len(bare), np.float32)
        codeless = Encoded(np.empty((len(bare), 0), np.uint8), nothing, np.full(len(bare), np.nan, np.float32))
        packed.update(zip(bare, self._packed(available[bare], codeless), strict=True))
        return [packed.get(row) for row in range(len(changes))]

    def _packed(self, available: NDArray[np.bool_], encoded: Encoded) -> list[bytes]:
        codes, errors, scores = encoded
        return pack_codes(self._tag, available, scores > 1, errors, scores, codes)

    def _commit(
        self,
        part: Decoded[ItemChange],
        latest: list[ItemChange],
        records: dict[str, bytes | None],
        traceparent: str | None,
    ) -> None:
        if self.source.owned.get(part.owned.partition) is not part.owned:
            return  # Taken away since it was polled: who has it now begins at the position in Redis.
        writes = item_batch(
            self._redis,
            self._keys.items(self.version, part.owned.partition),
            part.owned.position,
            part.following,
            [(change.item_id, change.event is not None) for change in part.changes],
            records,
            _attributes(latest),
            self._log_events,
            traceparent,
        )
        if self.source.commit(writes.batch, part.owned, part.following):
            writes.applied(part.owned.position)
            if self._dead_letters is not None:
                metrics.EVENTS.labels(self._settings.kafka.items_topic).inc(part.total)

    def _shorten_log(self, owned: Owned) -> None:
        """Remove from a partition's change log what stood there the last time already."""
        position = owned.position
        oldest = self._log_marks.get(owned.partition)
        self._log_marks[owned.partition] = position.next
        # Further ahead than the position: Redis was restored to an older state meanwhile.
        if oldest is not None and oldest <= position.next:
            batch = shortened_log(self._keys.items(self.version, owned.partition), oldest, position)
            self.source.commit(batch, owned, position.next)


def _attributes(changes: list[ItemChange]) -> dict[str, bytes | None]:
    """Return each item's attributes as JSON, None where there are none."""
    return {
        change.item_id: msgspec.json.encode(change.event.attributes)
        if change.event is not None and change.event.attributes
        else None
        for change in changes
    }
