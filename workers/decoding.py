"""From Kafka records to checked changes; what is wrong is set aside with its reason."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from kafka.consumer.fetcher import ConsumerRecord
from numpy.typing import NDArray

from schemas.events import (
    CONTENT_TYPE_HEADER,
    JSON,
    MAX_ID_LENGTH,
    MAX_TIMESTAMP,
    BadEvent,
    EventTooLarge,
    Image,
    InvalidEvent,
    ItemEvent,
    KeyMismatch,
    MalformedEvent,
    WrongShape,
    decode_interaction,
    decode_item,
    feature_vector,
)
from workers.dead_letters import Rejected
from workers.record_batches import UNREAD_HEADER
from workers.source import Owned, PartitionRecords

Change = TypeVar("Change")


class ItemChange(NamedTuple):
    """An item as it is now; ``event`` is None for a deleted one, ``record`` for one that is read from a file."""

    item_id: str
    event: ItemEvent | None
    vector: NDArray[np.float32] | None
    record: ConsumerRecord | None = None


class Interaction(NamedTuple):
    """A checked interaction with its time in Unix seconds and its record's time in milliseconds."""

    user_id: str
    item_id: str
    kind: str
    weight: float
    timestamp: float
    produced_ms: int


@dataclass(slots=True)
class Decoded(Generic[Change]):
    """The good changes of one partition's records, in their order, and how many records there were."""

    owned: Owned
    following: int
    total: int
    changes: list[Change]


def decode_records(
    batches: list[PartitionRecords], decode: Callable[[ConsumerRecord], Change]
) -> tuple[list[Decoded[Change]], list[Rejected]]:
    """Return the changes of each partition, and all records that ``decode`` refused with a BadEvent."""
    decoded, rejected = [], []
    for batch in batches:
        changes: list[Change] = []
        for record in batch.records:
            try:
                changes.append(decode(record))
            except BadEvent as reason:
                rejected.append(Rejected(record, reason))
        decoded.append(Decoded(batch.owned, batch.following, len(batch.records), changes))
    return decoded, rejected


def item_decoder(max_bytes: int, input_shape: tuple[int, ...] | None) -> Callable[[ConsumerRecord], ItemChange]:
    """Return the decoder of records of ``items`` for a content model of ``input_shape`` (None: no such model)."""

    width = None if input_shape is None else math.prod(input_shape)

    def decode(record: ConsumerRecord) -> ItemChange:
        item_id = _key(record)
        if record.value is None:
            return ItemChange(item_id, None, None, record)
        event = decode_item(*_value(record, max_bytes))
        if event.item_id != item_id:
            raise KeyMismatch(f"the key is {item_id!r}, item_id is {event.item_id!r}")
        vector = feature_vector(event)
        if vector is not None and input_shape is not None:
            if len(vector) != width:
                raise WrongShape(f"{len(vector)} features, the model takes {' x '.join(map(str, input_shape))}")
            if event.image is not None:
                _check_shape(event.image, input_shape)
        return ItemChange(item_id, event, vector, record)

    return decode


def interaction_decoder(max_bytes: int) -> Callable[[ConsumerRecord], Interaction]:
    """Return the decoder of records of ``interactions``."""

    def decode(record: ConsumerRecord) -> Interaction:
        user_id = _key(record)
        if record.value is None:
            raise InvalidEvent("an interaction has a value; to retract one, publish it with weight 0")
        event = decode_interaction(*_value(record, max_bytes))
        if event.user_id != user_id:
            raise KeyMismatch(f"the key is {user_id!r}, user_id is {event.user_id!r}")
        timestamp = produced_at(record) if event.timestamp is None else event.timestamp
        return Interaction(user_id, event.item_id, event.kind, event.weight, timestamp, record.timestamp)

    return decode


def produced_at(record: ConsumerRecord) -> float:
    """Return the time of ``record`` in Unix seconds; producers may set it to anything, so it is brought into range."""
    return min(max(float(record.timestamp) / 1000, 0.0), MAX_TIMESTAMP)


def _key(record: ConsumerRecord) -> str:
    for name, reason in record.headers:
        if name == UNREAD_HEADER:
            raise EventTooLarge(str(reason or b"it was not looked at", "utf-8", "replace"))
    if record.key is None:
        raise KeyMismatch("the record has no key: it must be the id, which decides the partition")
    try:
        key = str(record.key, "utf-8")
    except UnicodeDecodeError as error:
        raise KeyMismatch(f"the key is not UTF-8: {error}") from error
    if not 1 <= len(key) <= MAX_ID_LENGTH:
        raise InvalidEvent(f"the key has {len(key)} characters, allowed are 1 to {MAX_ID_LENGTH}")
    return key


def _value(record: ConsumerRecord, max_bytes: int) -> tuple[bytes, str]:
    if len(record.value) > max_bytes:
        raise EventTooLarge(f"the value has {len(record.value)} bytes, allowed are {max_bytes}")
    for name, header in record.headers:
        if name.lower() == CONTENT_TYPE_HEADER:
            try:
                return record.value, str(header or b"", "ascii").partition(";")[0].strip().lower()
            except UnicodeDecodeError as error:
                raise MalformedEvent(f"the {CONTENT_TYPE_HEADER} header is not ASCII: {error}") from error
    return record.value, JSON


def _check_shape(image: Image, input_shape: tuple[int, ...]) -> None:
    if len(input_shape) > 1:
        # One channel may be left out: 28 x 28 is 28 x 28 x 1.
        given, wanted = (tuple(shape) + (1,) * (3 - len(shape)) for shape in (image.shape, input_shape))
        if given != wanted:
            raise WrongShape(f"an image of {image.shape}, the model takes {list(input_shape)}")
