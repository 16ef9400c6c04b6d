"""What must be in Redis after a stream, computed by one loop over the events.

It shares the schemas and the model with the workers and nothing else: no batches, no buckets, no index, no log.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec
import numpy as np
from kafka.consumer.fetcher import ConsumerRecord
from numpy.typing import NDArray

from models.bundle import Bundle
from schemas.events import (
    DISMISS,
    BadEvent,
    InteractionEvent,
    InvalidEvent,
    ItemEvent,
    KeyMismatch,
    WrongShape,
    decode_interaction,
    decode_item,
    feature_vector,
)
from schemas.keys import ITEMS_PER_BUCKET, USERS_PER_BUCKET
from schemas.records import pack_codes, version_tag
from schemas.settings import Settings

# item id -> (weight, timestamp, kind), oldest first.
History = dict[str, tuple[float, float, str]]
_DAY_S: Final = 86_400.0


class Letter(NamedTuple):
    """A dead letter by where its event stands."""

    topic: str
    partition: int
    offset: int
    exception: str


@dataclass(slots=True)
class Partition:
    """What belongs to a partition of either topic."""

    following: int = 0
    ids: int = 0
    peak: int = 0


@dataclass(slots=True)
class Item:
    """The newest event of an item that exists, where it stands, and its partition."""

    event: ItemEvent
    vector: NDArray[np.float32] | None
    partition: int
    offset: int


@dataclass(slots=True)
class Placed:
    """All items under the model, in the order of ``ids``: what is stored of each, and its place."""

    ids: list[str]
    records: dict[str, bytes]
    marked: set[str]
    known: NDArray[np.bool_]
    servable: NDArray[np.bool_]
    embeddings: NDArray[np.float32]
    retrieval: NDArray[np.float32]
    rows: dict[str, int]


@dataclass(slots=True)
class Best:
    """A user's scores: of each item, -inf of what must not be in the list; and the code."""

    scores: NDArray[np.float32]
    code: bytes


@dataclass
class Reference:
    """The state after the records given so far, in the order of each partition."""

    settings: Settings
    bundle: Bundle
    events: int = 0
    # Versions that were current.
    earlier: set[str] = field(default_factory=set)
    items: dict[str, Item] = field(default_factory=dict)
    histories: dict[str, History] = field(default_factory=dict)
    # Of each user the partition.
    homes: dict[str, int] = field(default_factory=dict)
    partitions: dict[tuple[str, int], Partition] = field(default_factory=lambda: defaultdict(Partition))
    letters: set[Letter] = field(default_factory=set)
    # Partition and item -> log2 of the decayed weight at Unix time 0.
    popularity: dict[tuple[int, str], float] = field(default_factory=dict)
    trending: dict[tuple[int, str], float] = field(default_factory=dict)
    # Every pair of item and user in an interaction that wants something, whose item was never published.
    unpublished: set[tuple[str, str]] = field(default_factory=set)
    ever_published: set[str] = field(default_factory=set)

    def read(self, records: Iterable[ConsumerRecord]) -> None:
        """Apply ``records`` of either topic."""
        for record in records:
            partition = self.partitions[record.topic, record.partition]
            before = partition.ids
            try:
                if record.topic == self.settings.kafka.items_topic:
                    partition.ids += self._item(record)
                else:
                    partition.ids += self._interaction(record)
            except BadEvent as error:
                self.letters.add(Letter(record.topic, record.partition, record.offset, type(error).__name__))
            if partition.ids > before:
                partition.peak = max(partition.peak, partition.ids)
            partition.following = record.offset + 1
            self.events += 1

    def buckets(self, topic: str, partition: int) -> int:
        """Return into how many buckets the ids of a partition are divided."""
        each = ITEMS_PER_BUCKET if topic == self.settings.kafka.items_topic else USERS_PER_BUCKET
        return max(1, math.ceil(self.partitions[topic, partition].peak / each))

    def placed(self) -> Placed:
        """Return all items under the model."""
        content, ids = self.bundle.content, sorted(self.items)
        if content is None:
            raise ValueError("the reference wants a model with a content part")
        vectors = [vector for name in ids if (vector := self.items[name].vector) is not None]
        has = np.array([self.items[name].vector is not None for name in ids], bool)
        encoded = content.encode(np.stack(vectors))
        available = np.array([self.items[name].event.available for name in ids], bool)
        tag = version_tag(self.bundle.version)
        rows = iter(pack_codes(tag, available[has], encoded.scores > 1, encoded.errors, encoded.scores, encoded.codes))
        nothing = np.zeros(int((~has).sum()), np.float32)
        none, no_code = np.full(len(nothing), np.nan, np.float32), np.empty((len(nothing), 0), np.uint8)
        bare = iter(pack_codes(tag, available[~has], none > 1, nothing, none, no_code))
        records = {name: next(rows) if here else next(bare) for name, here in zip(ids, has, strict=True)}
        marked = {name for name, score in zip(np.array(ids)[has], encoded.scores, strict=True) if score > 1}
        latents = np.zeros((len(ids), content.latent_dim), np.float32)
        latents[has] = content.latents(encoded.codes)
        place = self.bundle.space.place(ids, latents, has)
        numbers = {name: row for row, name in enumerate(ids)}
        servable = place.known & available
        return Placed(ids, records, marked, place.known, servable, place.embeddings, place.retrieval, numbers)

    def best(self, placed: Placed, users: Sequence[str]) -> dict[str, Best]:
        """Return the scores of all items for each of ``users`` who touched any that the model knows."""
        found: dict[str, Best] = {}
        for user in users:
            touched = {item: weight for item, (weight, _, kind) in self.histories[user].items() if kind != DISMISS}
            rows = [placed.rows[item] for item in touched if item in placed.rows and placed.known[placed.rows[item]]]
            if not rows:
                continue
            weights = np.array([touched[placed.ids[row]] for row in rows], np.float32)
            bounds = np.array([0, len(rows)], np.int64)
            bag = self.bundle.space.bags(placed.embeddings, bounds, np.array(rows, np.int64), weights)
            code = self.bundle.space.user_codes(bag)
            scores = placed.retrieval[:, :-1] @ code[0] + placed.retrieval[:, -1]
            barred = [placed.rows[item] for item in self.histories[user] if item in placed.rows]
            scores[barred] = -np.inf
            scores[~placed.servable] = -np.inf
            found[user] = Best(scores, self.bundle.user_codec.encode(code)[0].tobytes())
        return found

    def popular(self, placed: Placed) -> dict[str, float]:
        """Return log2 of the weight of each servable item that anybody touched."""
        sums: dict[str, float] = {}
        for (_, item), weight in self.popularity.items():
            if item in placed.rows and placed.servable[placed.rows[item]]:
                sums[item] = _log2_sum(sums[item], weight) if item in sums else weight
        return sums

    def _item(self, record: ConsumerRecord) -> int:
        item_id = _key(record)
        existed = item_id in self.items
        if record.value is None:
            self.items.pop(item_id, None)
            return -existed
        event = decode_item(record.value)
        if event.item_id != item_id:
            raise KeyMismatch("another key")
        vector = feature_vector(event)
        content = self.bundle.content
        if vector is not None and content is not None and len(vector) != content.input_dim:
            raise WrongShape("another dimension")
        self.items[item_id] = Item(event, vector, record.partition, record.offset)
        self.ever_published.add(item_id)
        return not existed

    def _interaction(self, record: ConsumerRecord) -> int:
        user = _key(record)
        if record.value is None:
            raise InvalidEvent("no value")
        event = decode_interaction(record.value)
        if event.user_id != user:
            raise KeyMismatch("another key")
        self.homes[user] = record.partition
        produced = record.timestamp / 1000
        when = produced if event.timestamp is None else event.timestamp
        change = self._remember(user, event, when)
        if event.weight > 0 and event.kind != DISMISS:
            if event.item_id not in self.ever_published:
                self.unpublished.add((event.item_id, user))
            recommend = self.settings.recommend
            entry = record.partition, event.item_id
            for sums, half_life in (
                (self.popularity, recommend.popularity_half_life_days * _DAY_S),
                (self.trending, recommend.trending_half_life_hours * 3600),
            ):
                term = min(when, produced) / half_life + math.log2(event.weight)
                sums[entry] = _log2_sum(sums[entry], term) if entry in sums else term
        return change

    def _remember(self, user: str, event: InteractionEvent, when: float) -> int:
        history = self.histories.get(user, {})
        existed = bool(history)
        history.pop(event.item_id, None)
        if event.weight > 0:
            history[event.item_id] = (event.weight, when, event.kind)
            same = [item for item, touch in history.items() if (touch[2] == DISMISS) == (event.kind == DISMISS)]
            if len(same) > self.settings.recommend.history:
                del history[same[0]]
        if history:
            self.histories[user] = history
        else:
            self.histories.pop(user, None)
        return bool(history) - existed

    def stored_history(self, user: str) -> bytes:
        """Return a history as it must be stored."""
        return msgspec.json.encode([(item, *touch) for item, touch in self.histories[user].items()])


def _key(record: ConsumerRecord) -> str:
    if record.key is None:
        raise KeyMismatch("no key")
    return str(record.key, "utf-8")


def _log2_sum(one: float, other: float) -> float:
    high, low = max(one, other), min(one, other)
    return high + math.log2(1 + 2 ** (low - high))
