"""What cannot be processed: the original bytes on their own topic, with the reason in headers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import structlog
from kafka import KafkaProducer
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import MessageSizeTooLargeError
from kafka.producer.future import FutureRecordMetadata

from schemas.events import BadEvent
from schemas.settings import Settings
from workers import connections, metrics
from workers.acknowledgement import FLUSH_TIMEOUT_S
from workers.errors import Repairable
from workers.tracing import ids

log = structlog.get_logger()

HEADER_TOPIC: Final = "dead-letter-topic"
HEADER_PARTITION: Final = "dead-letter-partition"
HEADER_OFFSET: Final = "dead-letter-offset"
HEADER_EXCEPTION: Final = "dead-letter-exception"
HEADER_MESSAGE: Final = "dead-letter-message"
# The time of the event's own record, in milliseconds; that of the letter is when it was written.
HEADER_TIMESTAMP: Final = "dead-letter-timestamp"
# Only where the letter holds the beginning of the value: how many bytes it had.
HEADER_CUT: Final = "dead-letter-value-bytes"
HEADERS: Final = (
    HEADER_TOPIC,
    HEADER_PARTITION,
    HEADER_OFFSET,
    HEADER_EXCEPTION,
    HEADER_MESSAGE,
    HEADER_TIMESTAMP,
    HEADER_CUT,
)
# An event that was published again has it: PARTITION:OFFSET of its first place in the topic.
HEADER_REPLAYED: Final = "replayed-from"
MAX_REASON: Final = 1000
# Of what does not fit into a message of the topic.
_KEPT_BYTES: Final = 64 * 1024
_KEPT_KEY_BYTES: Final = 1024
_HEADER_ROOM: Final = 1 << 20


class TooManyDeadLetters(Repairable):
    """So many events were bad that the topic itself is suspect."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record and why it cannot be processed."""

    record: ConsumerRecord
    reason: BadEvent


class DeadLetters:
    """Publishes rejected records and stops the worker when there are too many."""

    def __init__(self, producer: KafkaProducer, settings: Settings) -> None:
        self._producer = producer
        self._topic = settings.kafka.dead_letters_topic
        self._limit = settings.events.dead_letter_limit
        self._recent: deque[bool] = deque(maxlen=settings.events.dead_letter_window)

    def publish(self, rejected: list[Rejected]) -> None:
        """Publish and wait until every letter is acknowledged; what is too large for the topic is cut, and says so.

        Raises:
            KafkaError: a letter was not acknowledged; the batch must not be committed.
        """
        if not rejected:
            return
        sent = [(letter, self._send(letter)) for letter in rejected]
        self._producer.flush(timeout=FLUSH_TIMEOUT_S)
        for letter, future in sent:
            try:
                future.get(timeout=FLUSH_TIMEOUT_S)
            except MessageSizeTooLargeError:
                # It was well compressed, or as large as a message may be, and has a reason now.
                self._send(letter, cut=True).get(timeout=FLUSH_TIMEOUT_S)
        for letter in rejected:
            metrics.DEAD_LETTERS.labels(letter.record.topic, type(letter.reason).__name__).inc()

    def check_limit(self, total: int, rejected: list[Rejected]) -> None:
        """Count a committed batch of ``total`` records.

        Raises:
            TooManyDeadLetters: more than the limit of the last records were bad.
        """
        self._recent.extend([False] * (total - len(rejected)))
        self._recent.extend([True] * len(rejected))
        bad = sum(self._recent)
        if bad >= self._limit:
            last = rejected[-1] if rejected else None
            example = f", last {type(last.reason).__name__}: {last.reason}" if last else ""
            raise TooManyDeadLetters(
                f"{bad} of the last {len(self._recent)} events could not be processed{example}. Stopped, nothing is "
                "lost: see `latentstream dead-letters list`, repair the producer and restart, or raise "
                "LATENTSTREAM_EVENTS__DEAD_LETTER_LIMIT"
            )

    def close(self) -> None:
        """Close the producer."""
        self._producer.close(timeout=FLUSH_TIMEOUT_S)

    def _send(self, letter: Rejected, *, cut: bool = False) -> FutureRecordMetadata:
        record, reason = letter.record, letter.reason
        log.warning(
            "dead_letter",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            exception=type(reason).__name__,
            reason=str(reason)[:MAX_REASON],
            **ids(record.headers),
        )
        headers = [] if cut else [header for header in record.headers if header[0] not in HEADERS]
        headers += [
            (HEADER_TOPIC, record.topic.encode()),
            (HEADER_PARTITION, str(record.partition).encode()),
            (HEADER_OFFSET, str(record.offset).encode()),
            (HEADER_EXCEPTION, type(reason).__name__.encode()),
            (HEADER_TIMESTAMP, str(record.timestamp).encode()),
            (HEADER_MESSAGE, str(reason)[:MAX_REASON].encode(errors="replace")),
        ]
        # kafka-python sends neither null headers nor a record that is null in key and value.
        headers = [(name, content or b"") for name, content in headers]
        key, value = record.key, record.value if record.key is not None else record.value or b""
        if cut:
            headers.append((HEADER_CUT, str(len(value or b"")).encode()))
            key, value = key and key[:_KEPT_KEY_BYTES], value and value[:_KEPT_BYTES]
        return self._producer.send(self._topic, key=key, value=value, headers=headers)


def dead_letters_producer(settings: Settings) -> KafkaProducer:
    """Return a producer that takes all that a consumer may hand out, compressed as it was.

    Raises:
        ConnectionFailed: no address, or no answer from it.
    """
    return connections.producer(
        settings,
        max_request_size=connections.largest_batch(settings) + _HEADER_ROOM,
        # An idempotent one would take nothing more after a record that is too large for the topic. A letter may come
        # twice anyhow; and with one request at a time they stay in order.
        enable_idempotence=False,
        max_in_flight_requests_per_connection=1,
    )
