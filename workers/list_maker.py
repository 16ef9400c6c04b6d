"""From histories to lists in Redis: each user is ranked by the model that serves them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from schemas.documents import recommendation_order
from schemas.experiments import ArmName
from schemas.keys import Keys
from workers import buckets
from workers.arms import Arm, Arms
from workers.listed import Listed
from workers.popularity import Popularity
from workers.profiles import Profile
from workers.updates import Lists, UserOf
from workers.wanted import Ranked, Wanted


class ListMaker:
    """Ranks users and writes what was found, for all arms."""

    def __init__(self, keys: Keys, arms: Arms, popularity: Popularity, profiles: Sequence[Profile]) -> None:
        self._keys = keys
        self._arms = arms
        self._popularity = popularity
        self._profiles = profiles

    def rank(self, users: Sequence[UserOf]) -> None:
        """Rank users of any partitions in one call of each model and one search."""
        by_arm: dict[ArmName, list[UserOf]] = defaultdict(list)
        for lists, user in users:
            by_arm[self._arms.of(user).name].append((lists, user))
        for arm in self._arms:
            for (lists, user), results in self._ranked(arm, by_arm[arm.name]):
                lists.ranked[user] = results
        shadow = self._arms.shadow
        if shadow is not None:
            chosen = set(self._arms.shadowed(user for _, user in users))
            for (lists, user), results in self._ranked(shadow, [one for one in users if one[1] in chosen]):
                lists.shadowed[user] = results

    def write(self, lists: Lists, names: Sequence[str], listed: Mapping[ArmName, Listed]) -> None:
        """Write the lists of users that are ranked, and note them in ``listed``, what stands of their partition."""
        order = recommendation_order(lists.owned.position.epoch, lists.following)
        for arm, users in self._arms.divided(names):
            forgotten = {user for user in users if lists.histories.is_empty(user)}
            ranked = {user: lists.ranked[user] for user in users}
            arm.lists.write(order, ranked, forgotten, listed[arm.name])
        shadow = self._arms.shadow
        if shadow is not None:
            ranked = {user: lists.shadowed[user] for user in names if user in lists.shadowed}
            shadow.lists.note(order, ranked, listed[shadow.name])

    def add_codes(self, lists: Lists, bucket_count: int) -> None:
        """Add to the writes of ``lists`` the user codes, which lie in so many buckets."""
        keys = self._keys.users(lists.owned.partition)
        for arm, users in self._arms.divided(lists.ranked):
            codes = {user: lists.ranked[user][0].code or None for user in users}
            buckets.write(lists.batch, partial(keys.codes, arm.version), codes, bucket_count)

    def _ranked(self, arm: Arm, pairs: list[UserOf]) -> Iterator[tuple[UserOf, list[Ranked]]]:
        if not pairs:
            return
        histories = [lists.histories.weighted(user) for lists, user in pairs]
        wanted = [self._wanted(lists.histories.dismissed(user)) for lists, user in pairs]
        ranked = arm.ranker.several(histories, wanted)
        for pair, history, own, results in zip(pairs, histories, wanted, ranked, strict=True):
            # Without any known item there is no user code, and popularity has to do.
            yield (
                pair,
                [
                    result if result.code else self._popularity.top(one, {item for item, _ in history})
                    for one, result in zip(own, results, strict=True)
                ],
            )

    def _wanted(self, dismissed: frozenset[str]) -> list[Wanted]:
        """Return what each profile wants for a user who ``dismissed`` some items."""
        wanted = [profile.wanted for profile in self._profiles]
        return [replace(one, exclude=dismissed) for one in wanted] if dismissed else wanted
