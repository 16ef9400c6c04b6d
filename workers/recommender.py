"""``interactions`` -> history -> user code -> search -> ``recs:<user>``."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate, islice
from typing import cast

import redis
import structlog
from kafka import KafkaConsumer

from schemas.documents import recommendation_order
from schemas.experiments import ArmName
from schemas.keys import USERS_PER_BUCKET, Keys
from schemas.settings import Settings
from workers import buckets, metrics, tally
from workers.arms import Arm, Arms
from workers.dead_letters import DeadLetters, Rejected
from workers.decoding import Decoded, Interaction, decode_records, interaction_decoder
from workers.delivery import Batch, PositionStore
from workers.histories import Histories, popularity_terms
from workers.listed import Affected, Listed, standing, take
from workers.lists import USERS_CUT_AT_A_TIME
from workers.popularity import KEPT, Popularity
from workers.profiles import all_profiles
from workers.quality import Judgement, judge, observe
from workers.source import Owned, PartitionRecords, Source
from workers.updates import Lists, Update, UserOf, by_partition, wants
from workers.waiting import Waiting, unpublished
from workers.wanted import Wanted
from workers.withdrawn import Withdrawn

log = structlog.get_logger()

USERS_AT_A_TIME = 256


@dataclass(slots=True)
class _PartitionState:
    """What the owner of a partition remembers between batches."""

    waiting: Waiting
    # What stands in the lists of the users of each arm, and whose lists have lost an item.
    listed: dict[ArmName, Listed]
    affected: Affected = field(default_factory=Affected)
    # The sweep over all lists of the partition after the claim: the next bucket.
    sweep: int = 0


class Recommender:
    """Keeps the lists of the users under one model version, or two of them in an experiment."""

    def __init__(
        self,
        settings: Settings,
        client: redis.Redis,
        consumer: KafkaConsumer,
        dead_letters: DeadLetters,
        arms: Arms,
        popularity: Popularity,
    ) -> None:
        self._settings = settings.recommend
        self._keys = Keys(settings.redis.prefix)
        self._redis = client
        self._dead_letters = dead_letters
        self._arms = arms
        self._popularity = popularity
        self._popularity_due = 0.0
        self._withdrawn = Withdrawn(client, self._keys, [arm.catalogue for arm in arms])
        self._profiles = all_profiles(settings.recommend)
        self._states: dict[int, _PartitionState] = {}
        self._decode = interaction_decoder(settings.events.max_bytes)
        self._thread = ThreadPoolExecutor(1, "rank")
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
        parts, rejected = self.decode(batches)
        updates = self.read(parts)
        with metrics.STAGE_SECONDS.labels("dead_letters").time():
            self._dead_letters.publish(rejected)
        self._recommend(updates)
        total = sum(part.total for part in parts)
        metrics.BATCH_EVENTS.observe(total)
        self._dead_letters.check_limit(total, rejected)

    def decode(self, batches: list[PartitionRecords]) -> tuple[list[Decoded[Interaction]], list[Rejected]]:
        """Return the interactions of each partition, and what is none."""
        with metrics.STAGE_SECONDS.labels("decode").time():
            return decode_records(batches, self._decode)

    def read(self, parts: list[Decoded[Interaction]]) -> list[Update]:
        """Return what ``parts`` will change, with the stored histories of their users; nothing is folded in yet."""
        with metrics.STAGE_SECONDS.labels("read").time():
            reads = [
                buckets.Read(
                    self._keys.users(part.owned.partition).histories,
                    list(dict.fromkeys(interaction.user_id for interaction in part.changes)),
                    part.owned.position.buckets,
                )
                for part in parts
            ]
            stored = buckets.read_all(self._redis, reads)
            return [self._update(part, own) for part, own in zip(parts, stored, strict=True)]

    def fold(self, updates: list[Update], users: list[UserOf]) -> None:
        """Fold in what ``users`` did, and judge the lists that they had."""
        with metrics.STAGE_SECONDS.labels("histories").time():
            update_of = {update.part.owned.partition: update for update in updates}
            for lists, names in by_partition(users):
                first_contacts = update_of[lists.owned.partition].fold(names)
                lists.judgements += self._judge(lists.owned, first_contacts)

    def rank(self, users: list[UserOf]) -> None:
        """Rank users of any partitions in one call of each model and one search."""
        with metrics.STAGE_SECONDS.labels("recommend").time():
            self._rank(users)

    def write(self, users: list[UserOf]) -> None:
        """Write the lists of users that are ranked."""
        with metrics.STAGE_SECONDS.labels("lists").time():
            for lists, names in by_partition(users):
                self._write_lists(lists, names)

    def commit(self, updates: list[Update]) -> None:
        """Store histories, user codes and positions."""
        with metrics.STAGE_SECONDS.labels("commit").time():
            for update in updates:
                self._commit(update)

    def between(self) -> bool:
        """Take what is gone out of the lists, wake users whose item arrived, sweep a bucket of stale lists."""
        withdrawn = {arm.name: arm.catalogue.take_withdrawn() for arm in self._arms}
        # First, because it is soon done.
        self._withdrawn.note(name for arm in self._arms for name in arm.catalogue.ids(withdrawn[arm.name]))
        if any(slots.size for slots in withdrawn.values()) or time.monotonic() >= self._popularity_due:
            self._popularity.refresh()
            self._popularity_due = time.monotonic() + self._settings.popular_refresh_s
        for arm in self._arms:
            arrived = arm.catalogue.take_arrivals()
            for owned in list(self.source.owned.values()):
                state = self._states[owned.partition]
                if withdrawn[arm.name].size:
                    state.affected.add(state.listed[arm.name].holders(withdrawn[arm.name]), USERS_AT_A_TIME)
                self._wake(owned, state, arm, arrived)
            arm.coverage.look_on([state.listed[arm.name] for state in self._states.values()])
        self._withdrawn.follow(busy=self._cleaning())
        metrics.WAITING_ITEMS.set(sum(len(state.waiting) for state in self._states.values()))
        metrics.AFFECTED_USERS.set(sum(len(state.affected.renew) for state in self._states.values()))
        return self._clean() or self._sweep()

    def finish(self) -> None:
        """Do nothing: no batch is in work between two steps."""

    def rewind(self) -> None:
        """Claim everything again."""
        self.source.rewind()

    def close(self) -> None:
        """Leave the consumer group, and end the thread."""
        self._thread.shutdown()
        self.source.close()

    def _cleaning(self) -> bool:
        """Return whether lists may have what is gone: some are known to, or were not looked at since the claim."""
        return any(
            state.affected.cut or state.affected.renew or state.sweep < owned.position.buckets
            for owned, state in ((owned, self._states[owned.partition]) for owned in self.source.owned.values())
        )

    def _on_claimed(self, owned: Owned) -> None:
        self._withdrawn.adopt()
        waiting = Waiting(self._redis, self._keys.users(owned.partition).waiting)
        lengths = {profile.name: profile.wanted.k for profile in self._profiles}
        listed = {arm.name: Listed(lengths, arm.catalogue) for arm in self._arms}
        state = self._states[owned.partition] = _PartitionState(waiting, listed)
        # They may have arrived while nobody owned the partition.
        for arm in self._arms:
            items = waiting.items
            known = arm.catalogue.known(items)
            if not self._wake(owned, state, arm, {item for item, here in zip(items, known, strict=True) if here}):
                return

    def _on_dropped(self, partition: int) -> None:
        self._states.pop(partition, None)

    def _recommend(self, updates: list[Update]) -> None:
        """Make the new lists of all users, and commit.

        While some users are ranked, the lists of those before are written and those after are folded in; and what
        belongs to a partition is committed as soon as all of its lists are written.
        """
        remaining = iter([user for update in updates for user in update.lists.each()])
        unwritten = deque(zip(accumulate(len(update.lists.users) for update in updates), updates, strict=True))
        written = 0
        ranked: list[UserOf] = []
        upcoming = self._next_folded(updates, remaining)
        while unwritten:
            ranking = self._thread.submit(self.rank, upcoming)
            self.write(ranked)
            written += len(ranked)
            while unwritten and unwritten[0][0] <= written:
                self.commit([unwritten.popleft()[1]])
            following = self._next_folded(updates, remaining)
            ranking.result()
            ranked, upcoming = upcoming, following

    def _next_folded(self, updates: list[Update], remaining: Iterator[UserOf]) -> list[UserOf]:
        users = list(islice(remaining, USERS_AT_A_TIME))
        self.fold(updates, users)
        return users

    def _update(self, part: Decoded[Interaction], stored: dict[str, bytes | None]) -> Update:
        histories = Histories(stored, self._settings.history)
        lists = Lists(part.owned, part.following, histories, list(stored), Batch(part.owned.key))
        # Before any is ranked: an item that is published from now on wakes who touched it.
        self._note_waiting(part, lists.batch)
        return Update(part, lists)

    def _judge(self, owned: Owned, interactions: list[Interaction]) -> list[Judgement]:
        """Compare ``interactions`` with the lists that stand before they are folded in."""
        judgements = []
        for arm, users in self._arms.divided(dict.fromkeys(interaction.user_id for interaction in interactions)):
            listed = self._states[owned.partition].listed[arm.name]
            arm.lists.read(listed.unknown(users), listed)
            popular = {
                profile.name: standing(self._popularity.standing(profile.name), arm.catalogue)
                for profile in self._profiles
            }
            own = set(users)
            judged = [interaction for interaction in interactions if interaction.user_id in own]
            judgements += judge(judged, listed, popular, arm.catalogue)
        return judgements

    def _note_waiting(self, part: Decoded[Interaction], batch: Batch) -> None:
        """Remember who touched an item that nobody has published yet, where anybody will."""
        touches = ((change.item_id, change.user_id) for change in part.changes if wants(change))
        pairs = unpublished(touches, self._arms)
        self._states[part.owned.partition].waiting.add(pairs, batch)

    def _rank(self, users: list[UserOf]) -> None:
        by_arm: dict[ArmName, list[UserOf]] = defaultdict(list)
        for lists, user in users:
            by_arm[self._arms.of(user).name].append((lists, user))
        for arm in self._arms:
            if by_arm[arm.name]:
                self._rank_arm(arm, by_arm[arm.name])

    def _rank_arm(self, arm: Arm, pairs: list[UserOf]) -> None:
        histories = [lists.histories.weighted(user) for lists, user in pairs]
        wanted = [self._wanted(lists.histories.dismissed(user)) for lists, user in pairs]
        ranked = arm.ranker.several(histories, wanted)
        for (lists, user), history, own, results in zip(pairs, histories, wanted, ranked, strict=True):
            # Without any known item there is no user code, and popularity has to do.
            lists.ranked[user] = [
                result if result.code else self._popularity.top(one, {item for item, _ in history})
                for one, result in zip(own, results, strict=True)
            ]

    def _wanted(self, dismissed: frozenset[str]) -> list[Wanted]:
        """Return what each profile wants for a user who ``dismissed`` some items."""
        wanted = [profile.wanted for profile in self._profiles]
        return [replace(one, exclude=dismissed) for one in wanted] if dismissed else wanted

    def _write_lists(self, lists: Lists, names: list[str]) -> None:
        order = recommendation_order(lists.owned.position.epoch, lists.following)
        for arm, users in self._arms.divided(names):
            forgotten = {user for user in users if lists.histories.is_empty(user)}
            ranked = {user: lists.ranked[user] for user in users}
            arm.lists.write(order, ranked, forgotten, self._states[lists.owned.partition].listed[arm.name])

    def _commit(self, update: Update) -> None:
        part, lists = update.part, update.lists
        keys = self._keys.users(part.owned.partition)
        position = part.owned.position
        ids, bucket_count = buckets.buckets_needed(position, update.changes, USERS_PER_BUCKET)
        if bucket_count > position.buckets:
            names: list[buckets.BucketKey] = [keys.histories]
            names += [partial(keys.codes, arm.version) for arm in self._arms]
            buckets.split(self._redis, lists.batch, names, position.buckets, bucket_count)
        buckets.write(lists.batch, keys.histories, lists.histories.packed(), bucket_count)
        self._add_codes(lists, bucket_count)
        lists.batch.add(keys.position, "HSET", "ids", ids, "buckets", bucket_count)
        # Last, because only these are not idempotent: should Redis stop the script before, nothing is doubled.
        if self._arms.experiment is not None:
            experiment = self._arms.experiment
            tally.add_to(lists.batch, keys.experiment(experiment.name), experiment, lists.judgements)
        terms = popularity_terms(part.changes, self._settings.popularity_half_life_days)
        if terms:
            lists.batch.add(keys.popularity, "DECAY", KEPT, *terms)
            terms = popularity_terms(part.changes, self._settings.trending_half_life_hours / 24)
            lists.batch.add(keys.trending, "DECAY", KEPT, *terms)
        if self.source.commit(lists.batch, part.owned, part.following):
            position.ids, position.buckets = ids, bucket_count
            metrics.EVENTS.labels("interactions").inc(part.total)
            observe(lists.judgements)
            now = time.time()
            for change in part.changes:
                metrics.EVENT_TO_LIST_SECONDS.observe(max(now - change.produced_ms / 1000, 0))

    def _add_codes(self, lists: Lists, bucket_count: int) -> None:
        keys = self._keys.users(lists.owned.partition)
        for arm, users in self._arms.divided(lists.ranked):
            codes = {user: lists.ranked[user][0].code or None for user in users}
            buckets.write(lists.batch, partial(keys.codes, arm.version), codes, bucket_count)

    def _wake(self, owned: Owned, state: _PartitionState, arm: Arm, items: set[str]) -> bool:
        """Make anew the lists of an arm's users who touched ``items`` before they were published.

        Returns whether we still own the partition.
        """
        pairs = [(item, user) for item, user in state.waiting.pairs(items) if self._arms.of(user) is arm]
        if not pairs:
            return True
        if not self._refresh(owned, sorted({user for _, user in pairs})):
            return False
        batch = Batch(owned.key)
        state.waiting.remove(pairs, batch)
        if not self.source.commit(batch, owned, owned.position.next):
            return False
        state.waiting.forget(pairs)
        return True

    def _clean(self) -> bool:
        """Cut what is gone out of some lists, or make some of those anew; return whether there were any."""
        owners = [(owned, self._states[owned.partition]) for owned in self.source.owned.values()]
        for owned, state in owners:
            users = take(state.affected.cut, USERS_CUT_AT_A_TIME)
            if users:
                # As in `_refresh`.
                if not self.source.commit(Batch(owned.key), owned, owned.position.next):
                    return True
                order = recommendation_order(owned.position.epoch, owned.position.next)
                for arm, own in self._arms.divided(users):
                    arm.lists.cut(order, own, state.listed[arm.name])
                return True
        for owned, state in owners:
            users = take(state.affected.renew, USERS_AT_A_TIME)
            if users:
                self._refresh(owned, users)
                return True
        return False

    def _sweep(self) -> bool:
        """Make anew the stale lists in one bucket of a claimed partition; return whether there is more to sweep.

        Stale is what is damaged or absent, of another model, or has an item that went while nobody looked.
        """
        for owned in list(self.source.owned.values()):
            state = self._states[owned.partition]
            if state.sweep < owned.position.buckets:
                names = cast(list[bytes], self._redis.hkeys(self._keys.users(owned.partition).histories(state.sweep)))
                state.sweep += 1
                for arm, users in self._arms.divided(name.decode() for name in names):
                    stale, gone = arm.lists.stale(users, state.listed[arm.name])
                    self._withdrawn.note(gone)
                    if not self._refresh(owned, stale):
                        break
                return True
        return False

    def _refresh(self, owned: Owned, users: list[str]) -> bool:
        """Make the lists of ``users`` anew from their stored histories; return whether we still own them.

        Unlike those of a batch they are written after the commit: no event will make a new owner write them again,
        should we have lost the partition. A crash in between leaves lists that the sweep after the next claim finds.
        """
        keys = self._keys.users(owned.partition)
        remaining = iter(users)
        while names := list(islice(remaining, USERS_AT_A_TIME)):
            stored = buckets.read_fields(self._redis, keys.histories, names, owned.position.buckets)
            histories = Histories(stored, self._settings.history)
            lists = Lists(owned, owned.position.next, histories, names, Batch(keys.position))
            self._rank(lists.each())
            self._add_codes(lists, owned.position.buckets)
            if not self.source.commit(lists.batch, owned, owned.position.next):
                return False
            self._write_lists(lists, names)
        return True
