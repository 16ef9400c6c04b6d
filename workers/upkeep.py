"""What a recommender does between batches, so that all lists stay right without events of their users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, cast

import redis

from schemas.documents import recommendation_order
from schemas.experiments import ArmName
from schemas.keys import Keys
from workers import buckets, metrics
from workers.arms import Arm, Arms
from workers.delivery import Batch
from workers.histories import Histories
from workers.list_maker import ListMaker
from workers.listed import Affected, Listed, take
from workers.lists import USERS_CUT_AT_A_TIME
from workers.source import Owned, Source
from workers.updates import Lists
from workers.versions import Versions
from workers.waiting import Waiting
from workers.withdrawn import Withdrawn

USERS_AT_A_TIME: Final = 256
# Lists that a sweep makes anew while events come in: they wait for it, and nobody waits for the sweep.
_SWEPT_BESIDE_EVENTS: Final = 12


@dataclass(slots=True)
class PartitionState:
    """What the owner of a partition remembers between batches."""

    waiting: Waiting
    # What stands in the lists of the users of each arm, and whose lists have lost an item.
    listed: dict[ArmName, Listed]
    affected: Affected = field(default_factory=Affected)
    # The sweep over all lists of the partition after the claim: the bucket that it is at, and those of its users whose
    # lists are to be made anew (None: it was not looked at yet).
    sweep: int = 0
    stale: list[str] | None = None
    # Versions that made codes of these users, and are not among the models any more.
    superseded: list[str] = field(default_factory=list)


class Upkeep:
    """Renews lists: of users whose item arrived or went, and of those that went stale while nobody looked.

    Args:
        states: of the claimed partitions, kept by the owner of the source.
        history: how many interactions of a user are kept.
    """

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys,
        source: Source,
        states: Mapping[int, PartitionState],
        arms: Arms,
        maker: ListMaker,
        history: int,
    ) -> None:
        self._redis = client
        self._keys = keys
        self._source = source
        self._states = states
        self._arms = arms
        self._maker = maker
        self._history = history
        self._versions = Versions(client, keys)
        self._withdrawn = Withdrawn(client, keys, [arm.catalogue for arm in arms])

    def adopt(self, owned: Owned) -> None:
        """Wake the users of a partition that was just claimed whose items may have arrived while nobody owned it."""
        self._withdrawn.adopt()
        state = self._states[owned.partition]
        state.superseded = sorted(self._versions.ages().keys() - {arm.version for arm in self._arms})
        for arm in self._arms:
            items = state.waiting.items
            known = arm.catalogue.known(items)
            if not self._wake(owned, state, arm, {item for item, here in zip(items, known, strict=True) if here}):
                return

    def take_withdrawn(self) -> bool:
        """Note what is gone since the last call, and whose lists have it; return whether there is any."""
        withdrawn = {arm.name: arm.catalogue.take_withdrawn() for arm in self._arms}
        self._withdrawn.note(name for arm in self._arms for name in arm.catalogue.ids(withdrawn[arm.name]))
        for arm in self._arms:
            # Nobody has the lists of a shadow.
            for owned in self._source.owned.values() if arm is not self._arms.shadow else ():
                state = self._states[owned.partition]
                if withdrawn[arm.name].size:
                    state.affected.add(state.listed[arm.name].holders(withdrawn[arm.name]), USERS_AT_A_TIME)
        return any(slots.size for slots in withdrawn.values())

    def go_on(self, *, events: bool) -> bool:
        """Wake users whose item arrived, and clean or sweep some lists; return whether more of it waits.

        ``events`` is whether some are coming in.
        """
        for arm in self._arms:
            arrived = arm.catalogue.take_arrivals()
            for owned in list(self._source.owned.values()):
                self._wake(owned, self._states[owned.partition], arm, arrived)
            arm.coverage.look_on([state.listed[arm.name] for state in self._states.values()])
        self._withdrawn.follow(busy=self._cleaning())
        metrics.WAITING_ITEMS.set(sum(len(state.waiting) for state in self._states.values()))
        metrics.AFFECTED_USERS.set(sum(len(state.affected.renew) for state in self._states.values()))
        return self._clean() or self._sweep(_SWEPT_BESIDE_EVENTS if events else USERS_AT_A_TIME)

    def _cleaning(self) -> bool:
        """Return whether lists may have what is gone: some are known to, or were not looked at since the claim."""
        return any(
            state.affected.cut or state.affected.renew or state.sweep < owned.position.buckets
            for owned, state in ((owned, self._states[owned.partition]) for owned in self._source.owned.values())
        )

    def _wake(self, owned: Owned, state: PartitionState, arm: Arm, items: set[str]) -> bool:
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
        if not self._source.commit(batch, owned, owned.position.next):
            return False
        state.waiting.forget(pairs)
        return True

    def _clean(self) -> bool:
        """Cut what is gone out of some lists, or make some of those anew; return whether there were any."""
        owners = [(owned, self._states[owned.partition]) for owned in self._source.owned.values()]
        for owned, state in owners:
            users = take(state.affected.cut, USERS_CUT_AT_A_TIME)
            if users:
                # As in `_refresh`.
                if not self._source.commit(Batch(owned.key), owned, owned.position.next):
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

    def _sweep(self, most: int) -> bool:
        """Make anew ``most`` stale lists in a bucket of a claimed partition; return whether there are more to look at.

        Codes of models before are removed with them.
        """
        for owned in list(self._source.owned.values()):
            state = self._states[owned.partition]
            if state.sweep < owned.position.buckets:
                stale = self._stale(owned, state) if state.stale is None else state.stale
                users, state.stale = stale[:most], stale[most:]
                if self._refresh(owned, users) and not state.stale:
                    self._drop_codes(owned, state.superseded, state.sweep)
                    state.sweep, state.stale = state.sweep + 1, None
                return True
        return False

    def _stale(self, owned: Owned, state: PartitionState) -> list[str]:
        """Return the users of the bucket that the sweep is at whose lists are to be made anew.

        They are damaged or absent, of another model, or have an item that went while nobody looked.
        """
        names = cast(list[bytes], self._redis.hkeys(self._keys.users(owned.partition).histories(state.sweep)))
        found = []
        for arm, users in self._arms.divided(name.decode() for name in names):
            stale, gone = arm.lists.stale(users, state.listed[arm.name])
            self._withdrawn.note(gone)
            found += stale
        return found

    def _drop_codes(self, owned: Owned, versions: list[str], bucket: int) -> None:
        """Remove the user codes of ``versions`` in one bucket."""
        if versions:
            keys = self._keys.users(owned.partition)
            batch = Batch(keys.position)
            for version in versions:
                batch.add(keys.codes(version, bucket), "UNLINK")
            self._source.commit(batch, owned, owned.position.next)

    def _refresh(self, owned: Owned, users: list[str]) -> bool:
        """Make the lists of ``users`` anew from their stored histories; return whether we still own them.

        Unlike those of a batch they are written after the commit: no event will make a new owner write them again,
        should we have lost the partition. A crash in between leaves lists that the sweep after the next claim finds.
        """
        keys = self._keys.users(owned.partition)
        remaining = iter(users)
        while names := list(islice(remaining, USERS_AT_A_TIME)):
            stored = buckets.read_fields(self._redis, keys.histories, names, owned.position.buckets)
            histories = Histories(stored, self._history)
            lists = Lists(owned, owned.position.next, histories, names, Batch(keys.position))
            self._maker.rank(lists.each())
            self._maker.add_codes(lists, owned.position.buckets)
            if not self._source.commit(lists.batch, owned, owned.position.next):
                return False
            self._maker.write(lists, names, self._states[owned.partition].listed)
        return True
