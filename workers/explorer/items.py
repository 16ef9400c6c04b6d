"""An item as the explorer shows one: what is stored of it, and what was published, which only the topic has."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Final

import msgspec
from kafka import KafkaConsumer, TopicPartition

from schemas.events import Attribute, BadEvent
from workers import connections
from workers.decoding import item_decoder
from workers.explorer.bundles import input_shape
from workers.explorer.system import System
from workers.topic_reader import CLOSE_TIMEOUT_MS, read_range

# Looking for one event means to read the topic backwards from its end.
_SEARCH_S: Final = 8.0
_FIRST_WINDOW: Final = 512
_LARGEST_WINDOW: Final = 16_384
_CONNECTED_WITHIN_MS: Final = 5_000
_KEPT: Final = 16


class Item(msgspec.Struct, frozen=True):
    """What Redis has of an item. Errors are mean squared, a feature; scores are multiples of the alarm threshold."""

    item_id: str
    model: str
    partition: int
    available: bool
    attributes: dict[str, Attribute]
    code_bytes: int
    code: str
    error: float | None
    anomalous: bool
    score: float | None
    shape: list[int]


class Original(msgspec.Struct, frozen=True):
    """What was published of an item last: its features, or why there are none."""

    features: list[float] | None
    searched: int
    why_not: str = ""


def stored(system: System, item_id: str) -> Item | None:
    """Return what Redis has of an item, None where it is not stored.

    Raises:
        ValueError: what is stored cannot be read.
    """
    items = system.items()
    found = items.find(item_id)
    if found is None or items.version is None:
        return None
    record = found.record
    return Item(
        item_id,
        items.version,
        found.partition,
        record.available,
        found.attributes,
        len(record.code),
        record.code.hex(),
        record.error if record.code else None,
        record.anomalous,
        record.score,
        input_shape(system.settings, items.version),
    )


class Originals:
    """Finds what was published of an item. One search at a time, which others wait for; the last ones are kept."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int], Original] = OrderedDict()

    def find(self, item: Item) -> Original:
        """Return what was published of ``item`` last.

        The topic is read backwards from its end, some seconds at most.

        Raises:
            ConnectionFailed: Kafka does not answer.
        """
        with self._lock:
            consumer = connections.consumer(
                self._system.settings, None, bootstrap_timeout_ms=_CONNECTED_WITHIN_MS, max_poll_records=2_000
            )
            try:
                partition = TopicPartition(self._system.settings.kafka.items_topic, item.partition)
                end = consumer.end_offsets([partition])[partition]
                place = (item.item_id, end)
                if place not in self._kept:
                    self._kept[place] = self._search(consumer, partition, end, item.item_id)
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
                return self._kept[place]
            finally:
                consumer.close(timeout_ms=CLOSE_TIMEOUT_MS)

    def _search(self, consumer: KafkaConsumer, partition: TopicPartition, end: int, item_id: str) -> Original:
        beginning = consumer.beginning_offsets([partition])[partition]
        decode = item_decoder(self._system.settings.events.max_bytes, None)
        until = time.monotonic() + _SEARCH_S
        key, stop, window = item_id.encode(), end, _FIRST_WINDOW
        while stop > beginning:
            start = max(beginning, stop - window)
            newest = None
            for records in read_range(consumer, {partition: start}, {partition: stop}):
                newest = next((record for record in reversed(records) if record.key == key), newest)
                if time.monotonic() > until and newest is None:
                    # Of this window only the older events are known.
                    searched = end - stop
                    return Original(None, searched, f"it is not among the newest {searched:,} events of its partition")
            searched = end - start
            if newest is not None:
                try:
                    vector = decode(newest).vector
                except BadEvent as error:
                    return Original(None, searched, f"the newest event cannot be read: {error}")
                if vector is None:
                    return Original(None, searched, "the newest event has no features")
                return Original(vector.tolist(), searched)
            stop, window = start, min(4 * window, _LARGEST_WINDOW)
        return Original(None, end - beginning, "the topic has no event of it any more")
