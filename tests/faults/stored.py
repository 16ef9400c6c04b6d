"""What Redis and the topics hold, compared with the reference: differences in words, none where all is well."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any, Final

import msgspec
import numpy as np

from schemas.documents import Recommendations
from schemas.events import decode_anomaly
from schemas.keys import Keys, bucket_of
from schemas.records import LogEntry
from schemas.settings import Settings
from tests.cli.kafka_topics import read_topic
from tests.faults.reference import Best, Letter, Placed, Reference
from workers.dead_letters import HEADER_EXCEPTION, HEADER_OFFSET, HEADER_PARTITION, HEADER_TOPIC

# Scores are float32 sums, taken in another order by the index.
_SCORE_TOLERANCE: Final = 2e-4
_WEIGHT_TOLERANCE: Final = 1e-6
_SHOWN: Final = 5
_PLAIN: Final = re.compile(r"epoch|model|in-use|due|topics|queries|withdrawn|popular|trending|recs:.+", re.DOTALL)
_KINDS: Final = ("position", "codes", "attributes", "log", "histories", "popularity", "trending", "waiting")
_PARTITIONED: Final = re.compile(r"\{([iu])(\d+)\}:(.+)", re.DOTALL)


class Stored:
    """Everything under the prefix, read at one time."""

    def __init__(self, client: Any, reference: Reference, earlier_letters: AbstractSet[Letter] = frozenset()) -> None:
        self._client = client
        self._reference = reference
        self._settings = reference.settings
        self._keys = Keys(self._settings.redis.prefix)
        self._version = reference.bundle.version
        self._earlier = reference.earlier - {self._version}
        # From a topic of dead letters that is no more.
        self._earlier_letters = earlier_letters
        self._strange: list[str] = []
        # By kind ("codes" and so on) and partition: field -> value, and the bucket that the field was found in.
        self._hashes: dict[tuple[str, int], dict[str, bytes]] = defaultdict(dict)
        self._buckets: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)
        self._lists: dict[str, Recommendations] = {}
        prefix = f"{self._settings.redis.prefix}:"
        names = [name.decode().removeprefix(prefix) for name in client.scan_iter(match=f"{prefix}*", count=1000)]
        for name in names:
            self._read(prefix, name)

    def _read(self, prefix: str, name: str) -> None:
        if name.startswith("recs:"):
            document = self._client.get(prefix + name)
            # A list of a forgotten user may expire between the two.
            if document is not None:
                self._lists[name.removeprefix("recs:")] = msgspec.json.decode(document, type=Recommendations)
            return
        if _PLAIN.fullmatch(name):
            return
        match = _PARTITIONED.fullmatch(name)
        kind, _, bucket = (match[3] if match else "").removeprefix(f"{self._version}:").partition(":")
        # Until they have been there for long enough.
        if match is not None and match[1] == "i" and match[3].partition(":")[0] in self._earlier:
            return
        if match is None or kind not in _KINDS:
            self._strange.append(f"key {name!r} belongs to nothing")
            return
        place = f"{'item' if match[1] == 'i' else 'user'} {kind}", int(match[2])
        if bucket:
            for raw, value in self._client.hgetall(prefix + name).items():
                identifier = raw.decode()
                if identifier in self._hashes[place]:
                    self._strange.append(f"{place}: {identifier!r} stands in two buckets")
                self._hashes[place][identifier] = value
                self._buckets[place][identifier] = int(bucket)

    def differences(self) -> list[str]:
        """Return what is not as the reference has it."""
        placed = self._reference.placed()
        found = [
            *self._strange,
            *self._positions(),
            *self._items(placed),
            *self._change_log(),
            *self._users(),
            *self._counts(),
            *self._waiting(placed),
            *self._recommendations(placed),
            *self._letters(),
            *self._anomalies(placed),
        ]
        return [str(one) for one in found]

    def _positions(self) -> Iterator[str]:
        for (topic, partition), expected in self._reference.partitions.items():
            items = topic == self._settings.kafka.items_topic
            keys: Any = self._keys.items(self._version, partition) if items else self._keys.users(partition)
            stored = [int(one or 0) for one in self._client.hmget(keys.position, "next", "ids", "buckets")]
            wanted = [expected.following, expected.ids, self._reference.buckets(topic, partition)]
            if stored != wanted:
                yield f"{topic}[{partition}]: next, ids and buckets are {stored}, not {wanted}"
            for kind in ("item codes", "item attributes") if items else ("user histories", "user codes"):
                for identifier, bucket in self._buckets[kind, partition].items():
                    if bucket != bucket_of(identifier, wanted[2]):
                        yield f"{kind}[{partition}]: {identifier!r} stands in bucket {bucket}"

    def _items(self, placed: Placed) -> Iterator[str]:
        expected: dict[str, dict[str, tuple[int, bytes]]] = {"item codes": {}, "item attributes": {}}
        for name, item in self._reference.items.items():
            expected["item codes"][name] = item.partition, placed.records[name]
            if item.event.attributes:
                expected["item attributes"][name] = item.partition, msgspec.json.encode(item.event.attributes)
        for kind, values in expected.items():
            yield from self._unequal(kind, values)

    def _users(self) -> Iterator[str]:
        reference = self._reference
        values = {user: (reference.homes[user], reference.stored_history(user)) for user in reference.histories}
        yield from self._unequal("user histories", values)

    def _unequal(self, kind: str, expected: dict[str, tuple[int, bytes]]) -> Iterator[str]:
        stored = {
            (identifier, partition): value
            for (name, partition), fields in self._hashes.items()
            if name == kind
            for identifier, value in fields.items()
        }
        wanted = {(identifier, partition): value for identifier, (partition, value) in expected.items()}
        for place in sorted(stored.keys() | wanted.keys()):
            if stored.get(place) != wanted.get(place):
                yield f"{kind} {place}: {_short(stored.get(place))}, not {_short(wanted.get(place))}"

    def _change_log(self) -> Iterator[str]:
        """What the log says last of an item is what is stored."""
        for partition in range(self._settings.kafka.partitions):
            last: dict[str, bytes] = {}
            for _, fields in self._client.xrange(self._keys.items(self._version, partition).log):
                entry = LogEntry.unpack(fields[b"batch"])
                last.update(zip(entry.ids, entry.records, strict=True))
            codes = self._hashes["item codes", partition]
            for name, record in last.items():
                if codes.get(name, b"") != record:
                    yield f"log {partition}: {name!r} is {_short(record)}, stored is {_short(codes.get(name))}"

    def _counts(self) -> Iterator[str]:
        for kind, expected in (("popularity", self._reference.popularity), ("trending", self._reference.trending)):
            stored = {
                (partition, member.decode()): weight
                for partition in range(self._settings.kafka.partitions)
                for member, weight in self._client.zrange(
                    getattr(self._keys.users(partition), kind), 0, -1, withscores=True
                )
            }
            for place in sorted(stored.keys() | expected.keys()):
                weight, wanted = stored.get(place), expected.get(place)
                if weight is None or wanted is None or abs(weight - wanted) > _WEIGHT_TOLERANCE:
                    yield f"{kind} {place}: {weight}, not {wanted}"

    def _waiting(self, placed: Placed) -> Iterator[str]:
        """Those wait who touched what was never published; who touched what is known now does not."""
        stored = {
            tuple(msgspec.json.decode(member))
            for partition in range(self._settings.kafka.partitions)
            for member in self._client.smembers(self._keys.users(partition).waiting)
        }
        never = {pair for pair in self._reference.unpublished if pair[0] not in self._reference.ever_published}
        for pair in sorted(never - stored):
            yield f"waiting: {pair} is missing"
        for item, user in sorted(stored - never):
            known = item in placed.rows and placed.known[placed.rows[item]]
            if known or item not in self._reference.ever_published:
                yield f"waiting: {(item, user)} is too much"

    def _recommendations(self, placed: Placed) -> Iterator[str]:
        histories = self._reference.histories
        best = self._reference.best(placed, sorted(histories))
        codes = {
            user: value
            for (kind, _), fields in self._hashes.items()
            if kind == "user codes"
            for user, value in fields.items()
        }
        for user in sorted(histories):
            listed = self._lists.get(user)
            if listed is None:
                yield f"recs:{user} is missing"
            elif user in best:
                yield from self._ranked(user, listed, best[user], placed)
                yield from _unlike_codes(user, codes.get(user), best[user].code)
            elif listed.source != "popular" or user in codes:
                yield f"recs:{user} is of {listed.source}, though no item of the history is known"
        for user in sorted(codes.keys() - histories.keys()):
            yield f"user codes: {user!r} has no history"
        gone = {name for name, row in placed.rows.items() if not placed.servable[row]}
        # Of users without a history no new owner knows the list, which expires soon; readers know what is gone.
        withdrawn = {member.decode() for member in self._client.zrange(self._keys.withdrawn, 0, -1)}
        for user, listed in sorted(self._lists.items()):
            lost = {name for name in listed.items if name in gone or name not in placed.rows}
            if user not in histories:
                lost -= withdrawn
            if lost:
                yield f"recs:{user} has {lost}, which cannot be recommended"
        yield from self._popular(placed)

    def _ranked(self, user: str, listed: Recommendations, best: Best, placed: Placed) -> Iterator[str]:
        """The list has the best items in their order; those whose scores are alike may change places."""
        k = self._settings.recommend.k
        order = np.sort(best.scores[best.scores > -np.inf])[::-1][:k]
        if listed.source != "model" or listed.model != self._version or len(listed.items) != len(order):
            yield f"recs:{user} has {len(listed.items)} items of {listed.source}, not {len(order)}"
            return
        slack = _SCORE_TOLERANCE * max(1.0, float(np.abs(order).max(initial=0)))
        for rank, (name, score, wanted) in enumerate(zip(listed.items, listed.scores, order, strict=True)):
            own = best.scores[placed.rows[name]] if name in placed.rows else -np.inf
            if abs(score - wanted) > slack or not abs(own - wanted) <= slack:
                yield f"recs:{user} rank {rank}: {name} with {score}, which has {own}; the best there has {wanted}"
                return

    def _popular(self, placed: Placed) -> Iterator[str]:
        sums = self._reference.popular(placed)
        document = self._client.get(self._keys.popular())
        listed = msgspec.json.decode(document, type=Recommendations).items if document else []
        wanted = sorted(sums.values(), reverse=True)[: self._settings.recommend.k]
        weights = [sums.get(name, -np.inf) for name in listed]
        if len(weights) != len(wanted) or not np.allclose(weights, wanted, rtol=0, atol=_WEIGHT_TOLERANCE):
            yield f"popular is {listed[:_SHOWN]}…, with {weights[:_SHOWN]}, not {wanted[:_SHOWN]}"

    def _letters(self) -> Iterator[str]:
        told = read_letters(self._settings) | self._earlier_letters
        for letter in sorted(self._reference.letters - told):
            yield f"dead letter missing: {letter}"
        for letter in sorted(told - self._reference.letters):
            yield f"dead letter too much: {letter}"

    def _anomalies(self, placed: Placed) -> Iterator[str]:
        """What is stored as marked was told before."""
        told = {
            (event.item_id, event.partition, event.offset)
            for record in read_topic(self._settings, self._settings.kafka.anomalies_topic)
            if (event := decode_anomaly(record.value)).model == self._version
        }
        for name in sorted(placed.marked):
            item = self._reference.items[name]
            if (name, item.partition, item.offset) not in told:
                yield f"anomaly not told: {name} at {item.partition}:{item.offset}"


def read_letters(settings: Settings) -> set[Letter]:
    """Return what the topic of dead letters holds; an event that was refused twice is one."""
    found = set()
    for record in read_topic(settings, settings.kafka.dead_letters_topic):
        headers = {name: value.decode() for name, value in record.headers}
        origin = headers[HEADER_TOPIC], int(headers[HEADER_PARTITION]), int(headers[HEADER_OFFSET])
        found.add(Letter(*origin, headers[HEADER_EXCEPTION]))
    return found


def _unlike_codes(user: str, stored: bytes | None, wanted: bytes) -> Iterator[str]:
    """A byte a dimension; where a number lies between two of them, the last bit of a sum decides."""
    if stored is None or len(stored) != len(wanted):
        yield f"user codes: {user!r} has {_short(stored)}"
        return
    apart = np.frombuffer(stored, np.uint8).astype(int) - np.frombuffer(wanted, np.uint8)
    if np.abs(apart).max() > 1:
        yield f"user codes: {user!r} is {_short(stored)}, not {_short(wanted)}"


def _short(value: bytes | None) -> str:
    return "missing" if value is None else repr(value[:80])
