"""``interactions`` -> history -> user code -> search -> ``recs:<user>``."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import cast

import msgspec
import redis
import structlog
from kafka import KafkaConsumer

from models.bundle import Bundle
from schemas.documents import recommendation_order
from schemas.events import DISMISS
from schemas.keys import USERS_PER_BUCKET, Keys
from schemas.settings import Settings
from workers import buckets, metrics
from workers.catalogue import Catalogue
from workers.dead_letters import DeadLetters
from workers.decoding import Decoded, Interaction, decode_records, interaction_decoder
from workers.delivery import MAX_ARGUMENTS, Batch, PositionStore
from workers.histories import Histories, popularity_terms
from workers.lists import FinishedLists
from workers.popularity import KEPT, Popularity
from workers.profiles import all_profiles
from workers.ranking import Ranker
from workers.source import Owned, PartitionRecords, Source
from workers.wanted import Ranked, Wanted

log = structlog.get_logger()

USERS_AT_A_TIME = 256
_WAITING = msgspec.json.Decoder(tuple[str, str])


@dataclass(slots=True)
class _PartitionState:
    """What the owner of a partition remembers between batches."""

    # Items that nobody published yet -> users who touched them; mirrors the key `waiting`.
    waiting: dict[str, set[str]]
    # The sweep over all lists of the partition: the next bucket, and whether to start over.
    sweep: int = 0
    sweep_again: bool = False


@dataclass(slots=True)
class _Lists:
    """Users of one partition whose lists are made anew, and the writes that belong to them."""

    owned: Owned
    histories: Histories
    users: list[str]
    batch: Batch
    # In the order of the profiles.
    ranked: dict[str, list[Ranked]] = field(default_factory=dict)


class Recommender:
    """Keeps the lists of the users under one model version."""

    def __init__(
        self,
        settings: Settings,
        client: redis.Redis,
        consumer: KafkaConsumer,
        dead_letters: DeadLetters,
        bundle: Bundle,
        catalogue: Catalogue,
        popularity: Popularity,
    ) -> None:
        self._settings = settings.recommend
        self._keys = Keys(settings.redis.prefix)
        self._redis = client
        self._dead_letters = dead_letters
        self._version = bundle.version
        # Then only a new model brings new items, and it reads everything anew.
        self._seeded = bundle.space.seeded
        self._catalogue = catalogue
        self._popularity = popularity
        self._popularity_due = 0.0
        self._ranker = Ranker(bundle, catalogue)
        self._profiles = all_profiles(settings.recommend)
        self._lists = FinishedLists(client, self._keys, bundle.version, catalogue, self._profiles)
        self._states: dict[int, _PartitionState] = {}
        self._decode = interaction_decoder(settings.events.max_bytes)
        self.source = Source(
            consumer,
            settings.kafka.interactions_topic,
            PositionStore(client, self._keys),
            lambda partition: self._keys.users(partition).position,
            self._on_claimed,
            self._on_dropped,
        )

    def step(self, batches: list[PartitionRecords]) -> None:
        """Fold in ``batches``, rank each touched user once, and store: the steps of ``workers.delivery``."""
        with metrics.STAGE_SECONDS.labels("decode").time():
            decoded, rejected = decode_records(batches, self._decode)
        with metrics.STAGE_SECONDS.labels("histories").time():
            updates = [self._fold(part) for part in decoded]
        with metrics.STAGE_SECONDS.labels("recommend").time():
            self._rank(lists for lists, _, _ in updates)
        with metrics.STAGE_SECONDS.labels("dead_letters").time():
            self._dead_letters.publish(rejected)
        with metrics.STAGE_SECONDS.labels("lists").time():
            for part, (lists, _, _) in zip(decoded, updates, strict=True):
                self._write_lists(lists, part.following)
        with metrics.STAGE_SECONDS.labels("commit").time():
            for part, (lists, ids, bucket_count) in zip(decoded, updates, strict=True):
                self._commit(part, lists, ids, bucket_count)
        total = sum(part.total for part in decoded)
        metrics.BATCH_EVENTS.observe(total)
        self._dead_letters.check_limit(total, rejected)

    def between(self) -> bool:
        """Wake users whose item arrived, sweep a bucket of stale lists, renew the popularity list."""
        if time.monotonic() >= self._popularity_due:
            self._popularity.refresh()
            self._popularity_due = time.monotonic() + self._settings.popular_refresh_s
        arrived = self._catalogue.take_arrivals()
        if self._catalogue.take_removed():
            for state in self._states.values():
                state.sweep_again = True
        for owned in list(self.source.owned.values()):
            state = self._states[owned.partition]
            woken = arrived & state.waiting.keys()
            if woken:
                self._wake(owned, state, woken)
        metrics.WAITING_ITEMS.set(sum(len(state.waiting) for state in self._states.values()))
        return self._sweep()

    def _on_claimed(self, owned: Owned) -> None:
        waiting: dict[str, set[str]] = {}
        for member in cast(set[bytes], self._redis.smembers(self._keys.users(owned.partition).waiting)):
            item, user = _WAITING.decode(member)
            waiting.setdefault(item, set()).add(user)
        state = self._states[owned.partition] = _PartitionState(waiting)
        # They may have arrived while nobody owned the partition.
        known = self._catalogue.known(list(waiting))
        woken = {item for item, here in zip(list(waiting), known, strict=True) if here}
        if woken:
            self._wake(owned, state, woken)

    def _on_dropped(self, partition: int) -> None:
        self._states.pop(partition, None)

    def _fold(self, part: Decoded[Interaction]) -> tuple[_Lists, int, int]:
        """Return the new histories of a partition's users, and its counts of users and buckets."""
        keys = self._keys.users(part.owned.partition)
        position = part.owned.position
        users = list(dict.fromkeys(interaction.user_id for interaction in part.changes))
        stored = buckets.read_fields(self._redis, keys.histories, users, position.buckets)
        histories = Histories(stored, self._settings.history)
        changes = [histories.fold(interaction) for interaction in part.changes]
        ids, bucket_count = buckets.buckets_needed(position, changes, USERS_PER_BUCKET)
        batch = Batch(keys.position)
        if bucket_count > position.buckets:
            names = [keys.histories, lambda bucket: keys.codes(self._version, bucket)]
            buckets.split(self._redis, batch, names, position.buckets, bucket_count)
        buckets.write(batch, keys.histories, histories.packed(), bucket_count)
        self._note_waiting(part, batch)
        return _Lists(part.owned, histories, users, batch), ids, bucket_count

    def _note_waiting(self, part: Decoded[Interaction], batch: Batch) -> None:
        """Remember who touched an item that nobody has published yet, where anybody will."""
        if self._seeded:
            return
        waiting = self._states[part.owned.partition].waiting
        touching = [change for change in part.changes if change.weight > 0 and change.kind != DISMISS]
        items = list(dict.fromkeys(change.item_id for change in touching))
        unknown = {item for item, known in zip(items, self._catalogue.known(items), strict=True) if not known}
        pairs = sorted({(change.item_id, change.user_id) for change in touching if change.item_id in unknown})
        for item, user in pairs:
            waiting.setdefault(item, set()).add(user)
        self._change_waiting(batch, part.owned.partition, "SADD", pairs)

    def _change_waiting(self, batch: Batch, partition: int, command: str, pairs: list[tuple[str, str]]) -> None:
        members = [msgspec.json.encode(pair) for pair in pairs]
        for start in range(0, len(members), MAX_ARGUMENTS):
            batch.add(self._keys.users(partition).waiting, command, *members[start : start + MAX_ARGUMENTS])

    def _rank(self, parts: Iterable[_Lists]) -> None:
        """Rank all users of all partitions in one call of the model and one search."""
        pairs = [(lists, user) for lists in parts for user in lists.users]
        histories = [lists.histories.weighted(user) for lists, user in pairs]
        wanted = [self._wanted(lists.histories.dismissed(user)) for lists, user in pairs]
        ranked = self._ranker.several(histories, wanted)
        for (lists, user), history, own, results in zip(pairs, histories, wanted, ranked, strict=True):
            seen = {item for item, _ in history}
            # Without any known item there is no user code, and popularity has to do.
            lists.ranked[user] = [
                result if result.code else self._popularity.top(one, seen)
                for one, result in zip(own, results, strict=True)
            ]

    def _wanted(self, dismissed: frozenset[str]) -> list[Wanted]:
        """Return what each profile wants for a user who ``dismissed`` some items."""
        wanted = [profile.wanted for profile in self._profiles]
        return [replace(one, exclude=dismissed) for one in wanted] if dismissed else wanted

    def _write_lists(self, lists: _Lists, following: int) -> None:
        order = recommendation_order(lists.owned.position.epoch, following)
        forgotten = {user for user in lists.ranked if lists.histories.is_empty(user)}
        self._lists.write(order, lists.ranked, forgotten)

    def _commit(self, part: Decoded[Interaction], lists: _Lists, ids: int, bucket_count: int) -> None:
        keys = self._keys.users(part.owned.partition)
        self._add_codes(lists, bucket_count)
        lists.batch.add(keys.position, "HSET", "ids", ids, "buckets", bucket_count)
        # Last, because it alone is not idempotent: should Redis stop the script before, nothing is doubled.
        terms = popularity_terms(part.changes, self._settings.popularity_half_life_days)
        if terms:
            lists.batch.add(keys.popularity, "DECAY", KEPT, *terms)
            terms = popularity_terms(part.changes, self._settings.trending_half_life_hours / 24)
            lists.batch.add(keys.trending, "DECAY", KEPT, *terms)
        position = part.owned.position
        if self.source.commit(lists.batch, part.owned, part.following):
            position.ids, position.buckets = ids, bucket_count
            metrics.EVENTS.labels("interactions").inc(part.total)
            now = time.time()
            for change in part.changes:
                metrics.EVENT_TO_LIST_SECONDS.observe(max(now - change.produced_ms / 1000, 0))

    def _add_codes(self, lists: _Lists, bucket_count: int) -> None:
        keys = self._keys.users(lists.owned.partition)
        codes = {user: ranked[0].code or None for user, ranked in lists.ranked.items()}
        buckets.write(lists.batch, lambda bucket: keys.codes(self._version, bucket), codes, bucket_count)

    def _wake(self, owned: Owned, state: _PartitionState, items: set[str]) -> None:
        """Make anew the lists of users who touched ``items`` before they were published."""
        pairs = sorted((item, user) for item in items for user in state.waiting[item])
        if not self._refresh(owned, sorted({user for _, user in pairs})):
            return
        batch = Batch(owned.key)
        self._change_waiting(batch, owned.partition, "SREM", pairs)
        if self.source.commit(batch, owned, owned.position.next):
            for item in items:
                del state.waiting[item]

    def _sweep(self) -> bool:
        """Make anew the stale lists in one bucket: those of another model, or with an item that is gone.

        Return whether there is more to sweep.
        """
        for owned in list(self.source.owned.values()):
            state = self._states[owned.partition]
            if state.sweep >= owned.position.buckets and state.sweep_again:
                state.sweep, state.sweep_again = 0, False
            if state.sweep < owned.position.buckets:
                users = self._stale_users(owned.partition, state.sweep)
                state.sweep += 1
                self._refresh(owned, users)
                return True
        return False

    def _stale_users(self, partition: int, bucket: int) -> list[str]:
        stored = cast(list[bytes], self._redis.hkeys(self._keys.users(partition).histories(bucket)))
        names = [name.decode() for name in stored]
        return self._lists.stale(names)

    def _refresh(self, owned: Owned, users: list[str]) -> bool:
        """Make the lists of ``users`` anew from their stored histories; return whether we still own them."""
        keys = self._keys.users(owned.partition)
        remaining = iter(users)
        while names := list(islice(remaining, USERS_AT_A_TIME)):
            stored = buckets.read_fields(self._redis, keys.histories, names, owned.position.buckets)
            lists = _Lists(owned, Histories(stored, self._settings.history), names, Batch(keys.position))
            self._rank([lists])
            self._write_lists(lists, owned.position.next)
            self._add_codes(lists, owned.position.buckets)
            if not self.source.commit(lists.batch, owned, owned.position.next):
                return False
        return True
