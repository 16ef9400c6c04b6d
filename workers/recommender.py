"""``interactions`` -> history -> user code -> search -> ``recs:<user>``."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Final

import redis
from kafka import KafkaConsumer

from schemas.keys import USERS_PER_BUCKET, Keys
from schemas.settings import Settings
from workers import buckets, metrics, tally
from workers.arms import Arms
from workers.dead_letters import DeadLetters, Rejected
from workers.decoding import Decoded, Interaction, decode_records, interaction_decoder
from workers.delivery import Batch, PositionStore
from workers.drift import InteractionDrift
from workers.histories import Histories, popularity_terms
from workers.list_maker import ListMaker
from workers.listed import Listed, standing
from workers.popularity import KEPT, Popularity
from workers.profiles import all_profiles
from workers.quality import Judgement, judge, observe
from workers.source import Owned, PartitionRecords, Source
from workers.tracing import begin, ending, stage
from workers.updates import Lists, Update, UserOf, by_partition, wants
from workers.upkeep import USERS_AT_A_TIME, PartitionState, Upkeep
from workers.waiting import Waiting, unpublished

if TYPE_CHECKING:
    from workers.spans import Span


# After so long without events none are expected.
_QUIET_S: Final = 1.0


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
        self._all_settings = settings
        self._settings = settings.recommend
        self._keys = Keys(settings.redis.prefix)
        self._redis = client
        self._dead_letters = dead_letters
        self._profiles = all_profiles(settings.recommend)
        self._states: dict[int, PartitionState] = {}
        self._decode = interaction_decoder(settings.events.max_bytes)
        self._thread = ThreadPoolExecutor(1, "rank")
        # Of the batch in work.
        self._span: Span | None = None
        self._last_batch_at = -_QUIET_S
        self.source = Source(
            consumer,
            settings.kafka.interactions_topic,
            PositionStore(client, self._keys),
            lambda partition: self._keys.users(partition).position,
            self._on_claimed,
            self._on_dropped,
        )
        self._use(arms, popularity)

    def _use(self, arms: Arms, popularity: Popularity) -> None:
        self._arms = arms
        self._popularity = popularity
        self._popularity_due = 0.0
        self._drift = InteractionDrift(self._all_settings, self._redis, arms.control.bundle)
        self._maker = ListMaker(self._keys, arms, popularity, self._profiles)
        history = self._settings.history
        self._upkeep = Upkeep(self._redis, self._keys, self.source, self._states, arms, self._maker, history)

    def take_over(self, arms: Arms, popularity: Popularity) -> None:
        """Go on with other models, as after a claim: a sweep makes the lists of all users anew."""
        self._use(arms, popularity)
        for owned in list(self.source.owned.values()):
            self._on_claimed(owned)

    def step(self, batches: list[PartitionRecords]) -> None:
        """Fold in ``batches``, rank each touched user once, and store: the steps of ``workers.delivery``."""
        self._last_batch_at = time.monotonic()
        self._span = begin(self._all_settings.kafka.interactions_topic, batches)
        with ending(self._span):
            self._step(batches)

    def _step(self, batches: list[PartitionRecords]) -> None:
        parts, rejected = self.decode(batches)
        updates = self.read(parts)
        with stage("dead_letters", self._span):
            self._dead_letters.publish(rejected)
        self._recommend(updates)
        self._drift.publish(self.source.owned.values())
        total = sum(part.total for part in parts)
        metrics.BATCH_EVENTS.observe(total)
        self._dead_letters.check_limit(total, rejected)

    def decode(self, batches: list[PartitionRecords]) -> tuple[list[Decoded[Interaction]], list[Rejected]]:
        """Return the interactions of each partition, and what is none."""
        with stage("decode", self._span):
            return decode_records(batches, self._decode)

    def read(self, parts: list[Decoded[Interaction]]) -> list[Update]:
        """Return what ``parts`` will change, with the stored histories of their users; nothing is folded in yet."""
        with stage("read", self._span):
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
        with stage("histories", self._span):
            update_of = {update.part.owned.partition: update for update in updates}
            for lists, names in by_partition(users):
                first_contacts = update_of[lists.owned.partition].fold(names)
                lists.judgements += self._judge(lists.owned, first_contacts)
                touched = [contact.item_id for contact in first_contacts]
                self._drift.observe(lists.owned.partition, lists.following, touched)

    def rank(self, users: list[UserOf]) -> None:
        """Rank users of any partitions in one call of each model and one search."""
        with stage("recommend", self._span):
            self._maker.rank(users)

    def write(self, users: list[UserOf]) -> None:
        """Write the lists of users that are ranked."""
        with stage("lists", self._span):
            for lists, names in by_partition(users):
                self._maker.write(lists, names, self._states[lists.owned.partition].listed)

    def commit(self, updates: list[Update]) -> None:
        """Store histories, user codes and positions."""
        with stage("commit", self._span):
            for update in updates:
                self._commit(update)

    def between(self) -> bool:
        """Take what is gone out of the lists, wake users whose item arrived, sweep a bucket of stale lists."""
        # First, because it is soon done.
        gone = self._upkeep.take_withdrawn()
        if gone or time.monotonic() >= self._popularity_due:
            self._popularity.refresh()
            self._popularity_due = time.monotonic() + self._settings.popular_refresh_s
        return self._upkeep.go_on(events=time.monotonic() - self._last_batch_at < _QUIET_S)

    def finish(self) -> None:
        """Do nothing: no batch is in work between two steps."""

    def rewind(self) -> None:
        """Claim everything again."""
        self.source.rewind()

    def close(self) -> None:
        """Leave the consumer group, and end the thread."""
        self._thread.shutdown()
        self.source.close()

    def _on_claimed(self, owned: Owned) -> None:
        waiting = Waiting(self._redis, self._keys.users(owned.partition).waiting)
        lengths = {profile.name: profile.wanted.k for profile in self._profiles}
        listed = {arm.name: Listed(lengths, arm.catalogue) for arm in self._arms}
        self._states[owned.partition] = PartitionState(waiting, listed)
        self._upkeep.adopt(owned)

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
        state = self._states[owned.partition]
        everybody = list(dict.fromkeys(interaction.user_id for interaction in interactions))
        for arm, users in self._arms.divided(everybody):
            listed = state.listed[arm.name]
            arm.lists.read(listed.unknown(users), listed)
            popular = {
                profile.name: standing(self._popularity.standing(profile.name), arm.catalogue)
                for profile in self._profiles
            }
            judgements += judge(_of(interactions, users), listed, popular, arm.catalogue)
        shadow = self._arms.shadow
        if shadow is not None:
            own = _of(interactions, self._arms.shadowed(everybody))
            nothing = dict.fromkeys(profile.name for profile in self._profiles)
            judgements += judge(own, state.listed[shadow.name], nothing, shadow.catalogue)
        return judgements

    def _note_waiting(self, part: Decoded[Interaction], batch: Batch) -> None:
        """Remember who touched an item that nobody has published yet, where anybody will."""
        touches = ((change.item_id, change.user_id) for change in part.changes if wants(change))
        pairs = unpublished(touches, self._arms)
        self._states[part.owned.partition].waiting.add(pairs, batch)

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
        self._maker.add_codes(lists, bucket_count)
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
            metrics.EVENTS.labels(self._all_settings.kafka.interactions_topic).inc(part.total)
            observe(lists.judgements)
            now = time.time()
            for change in part.changes:
                metrics.EVENT_TO_LIST_SECONDS.observe(max(now - change.produced_ms / 1000, 0))


def _of(interactions: list[Interaction], users: list[str]) -> list[Interaction]:
    own = set(users)
    return [interaction for interaction in interactions if interaction.user_id in own]
