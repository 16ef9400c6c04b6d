"""What is popular, for users never seen and for those whose items nobody knows; and what trends."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal, cast

import msgspec
import numpy as np
import redis
from numpy.typing import NDArray

from models.trending import rising
from schemas.documents import Recommendations, recommendation_order
from schemas.filters import Filter
from schemas.keys import Keys
from schemas.settings import RecommendSettings
from workers.catalogue import Catalogue
from workers.lists import decoded_list
from workers.profiles import Profile, all_profiles
from workers.shape import Candidates, fetch_size, shaped
from workers.wanted import Ranked, Wanted, rounded

# Items kept by each partition. Forward decay lets a new item displace an old one whatever the count.
KEPT: Final = 10_000
# A filter or a cap chooses among so many of each partition; what trends is looked for among as many of the heaviest.
DEPTH: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Leaders:
    """Servable items, best first: slots int64 ``[n]`` and log2 of their weights, float64 ``[n]``."""

    slots: NDArray[np.int64]
    weights: NDArray[np.float64]


_NOBODY: Final = _Leaders(np.empty(0, np.int64), np.empty(0))


class Popularity:
    """Merges the counts of all partitions into ``popular`` and ``trending``."""

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys,
        partitions: int,
        catalogue: Catalogue,
        version: str,
        settings: RecommendSettings,
    ) -> None:
        self._redis = client
        self._keys = keys
        self._users = [keys.users(partition) for partition in range(partitions)]
        self._catalogue = catalogue
        self._version = version
        self._settings = settings
        self._profiles = all_profiles(settings)
        self._popular = self._trending = _NOBODY
        # By key.
        self._standing: dict[str, Recommendations] = {}

    def refresh(self) -> None:
        """Read the counts again, and write those lists that changed."""
        # A user may have as many of the best as a history is long.
        longest = max(fetch_size(profile.wanted) for profile in self._profiles)
        popular = self._counts("popularity", max(longest + self._settings.history, DEPTH))
        self._popular = self._leaders(popular)
        self._trending = self._leaders(self._rising(self._counts("trending", DEPTH)))
        found = {}
        for profile in self._profiles:
            found[self._keys.popular(profile.name)] = self._document("popular", profile, self.top(profile.wanted))
            trending = self._document("trending", profile, self.trending(profile.wanted))
            found[self._keys.trending(profile.name)] = trending
        self._publish(found)

    def top(self, wanted: Wanted, without: Collection[str] = ()) -> Ranked:
        """Return the most popular items as ``wanted`` that are not in ``without``; scores are shares of the first.

        A filter that few of the items kept here match gives a short list.
        """
        return self._best(self._popular, wanted, without)

    def standing(self, profile: str) -> Recommendations | None:
        """Return what stood as popular after the last :meth:`refresh`, None before the first."""
        return self._standing.get(self._keys.popular(profile))

    def trending(self, wanted: Wanted, without: Collection[str] = ()) -> Ranked:
        """Return what trends most; what does not rise at all is not there. Else as :meth:`top`."""
        return self._best(self._trending, wanted, without)

    def _counts(self, kind: Literal["popularity", "trending"], depth: int) -> dict[str, float]:
        """Return log2 of the decayed weight of each item over all partitions, by id."""
        pipeline = self._redis.pipeline(transaction=False)
        for users in self._users:
            pipeline.zrevrange(getattr(users, kind), 0, depth - 1, withscores=True)
        counts = [pair for part in cast(list[list[tuple[bytes, float]]], pipeline.execute()) for pair in part]
        members: dict[bytes, int] = {}
        places = [members.setdefault(member, len(members)) for member, _ in counts]
        weights = np.full(len(members), -np.inf)
        np.logaddexp2.at(weights, np.array(places, np.int64), [weight for _, weight in counts])
        return dict(zip((member.decode() for member in members), weights.tolist(), strict=True))

    def _rising(self, recent: dict[str, float]) -> dict[str, float]:
        """Return log2 of the trend of each item that rises, from the log2 of its recent weight."""
        if not recent:
            return {}
        pipeline = self._redis.pipeline(transaction=False)
        for users in self._users:
            pipeline.zmscore(users.popularity, list(recent))
        longer = np.full(len(recent), -np.inf)
        for counts in cast(list[list[float | None]], pipeline.execute()):
            longer = np.logaddexp2(longer, [-np.inf if weight is None else weight for weight in counts])
        short_s = 3600 * self._settings.trending_half_life_hours
        long_s = 86_400 * self._settings.popularity_half_life_days
        # Both as they are now, not at Unix time 0.
        now = time.time()
        weights = np.array(list(recent.values())) - now / short_s
        scores = rising(weights, longer - now / long_s, short_s / long_s)
        return {name: score for name, score in zip(recent, scores.tolist(), strict=True) if score > -np.inf}

    def _leaders(self, weights: dict[str, float]) -> _Leaders:
        names = sorted(weights)
        heaviness = np.array([weights[name] for name in names])
        slots, servable = self._catalogue.servable_slots(names)
        # Stable: of equal weights the first by name.
        order = np.argsort(-heaviness, kind="stable")
        order = order[servable[order]]
        return _Leaders(slots[order], heaviness[order])

    def _best(self, leaders: _Leaders, wanted: Wanted, without: Collection[str]) -> Ranked:
        barred = self._catalogue.slots([*without, *wanted.exclude])

        def best(condition: Filter | None, taken: NDArray[np.int64], count: int) -> _Leaders:
            left = ~np.isin(leaders.slots, np.concatenate([barred, taken]))
            if condition is not None:
                left &= self._catalogue.mask(condition)[leaders.slots]
            rows = np.flatnonzero(left)[:count]
            return _Leaders(leaders.slots[rows], leaders.weights[rows])

        first = best(wanted.filter, np.empty(0, np.int64), fetch_size(wanted))
        highest = float(first.weights[0]) if len(first.slots) else 0.0
        found = shaped(self._catalogue, wanted, _shares(first, highest), lambda *asked: _shares(best(*asked), highest))
        return Ranked(self._catalogue.ids(found.slots), rounded(found.scores))

    def _document(self, source: Literal["popular", "trending"], profile: Profile, ranked: Ranked) -> Recommendations:
        return Recommendations(
            order=recommendation_order(0, 0),
            user_id="",
            model=self._version,
            source=source,
            generated_at=time.time(),
            items=ranked.items,
            scores=ranked.scores,
            profile=profile.name,
            rules=profile.rules,
        )

    def _publish(self, found: dict[str, Recommendations]) -> None:
        """Write those documents of ``found``, by key, that are not what stands there.

        What stands there is read each time: another recommender whose catalogue was behind ours may have written it
        and be gone, or Redis may have been restored.
        """
        keys = list(found)
        stored = cast(list[bytes | None], self._redis.mget(keys))
        for key, before in zip(keys, map(decoded_list, stored), strict=True):
            document = found[key]
            if before is None or _content(before) != _content(document):
                self._redis.set(key, msgspec.json.encode(document))
                before = document
            self._standing[key] = before


def _content(document: Recommendations) -> tuple[str, str, list[str]]:
    return document.model, document.rules, document.items


def _shares(leaders: _Leaders, highest: float) -> Candidates:
    return Candidates(leaders.slots, np.exp2(leaders.weights - highest).astype(np.float32))
