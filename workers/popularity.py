"""The decayed popularity list: for users never seen, and for those whose items nobody knows."""

from __future__ import annotations

import time
from collections.abc import Container
from itertools import islice
from typing import Final

import msgspec
import numpy as np
import redis

from schemas.documents import Recommendations, recommendation_order
from schemas.keys import Keys
from workers.catalogue import Catalogue
from workers.ranking import SCORE_DIGITS, Ranked, Wanted

# Items kept by each partition. Forward decay lets a new item displace an old one whatever the count.
KEPT: Final = 10_000


class Popularity:
    """Merges the counts of all partitions into ``popular``."""

    def __init__(self, client: redis.Redis, keys: Keys, partitions: int, catalogue: Catalogue, version: str) -> None:
        self._redis = client
        self._keys = keys
        self._partitions = partitions
        self._catalogue = catalogue
        self._version = version
        self._ranked: list[tuple[str, float]] = []
        self._written: list[str] | None = None

    def refresh(self, k: int, reserve: int) -> None:
        """Read the counts again, keep the best ``k + reserve``, and write the best ``k`` if they changed.

        ``reserve`` is how many of them a user may have already.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for partition in range(self._partitions):
            pipeline.zrevrange(self._keys.users(partition).popularity, 0, k + reserve - 1, withscores=True)
        weights: dict[str, float] = {}
        for counts in pipeline.execute():
            for member, weight in counts:
                name = member.decode()
                weights[name] = float(np.logaddexp2(weights.get(name, -np.inf), weight))
        names = sorted(weights, key=lambda name: (-weights[name], name))
        servable = self._catalogue.servable(names)
        self._ranked = [(name, weights[name]) for name, ok in zip(names, servable, strict=True) if ok]
        top = self.top(Wanted(k))
        if top.items != self._written:
            document = Recommendations(
                order=recommendation_order(0, 0),
                user_id="",
                model=self._version,
                source="popular",
                generated_at=time.time(),
                items=top.items,
                scores=top.scores,
            )
            self._redis.set(self._keys.popular, msgspec.json.encode(document))
            self._written = top.items

    def top(self, wanted: Wanted, without: Container[str] = ()) -> Ranked:
        """Return the most popular items as ``wanted`` that are not in ``without``; scores are shares of the first.

        A filter that few of the items kept here match gives a short list.
        """
        ranked = self._ranked
        if wanted.filter is not None:
            matching = self._catalogue.matching([name for name, _ in ranked], wanted.filter)
            ranked = [entry for entry, matches in zip(ranked, matching, strict=True) if matches]
        left = (entry for entry in ranked if entry[0] not in without and entry[0] not in wanted.exclude)
        best = list(islice(left, wanted.k))
        first = best[0][1] if best else 0.0
        scores = [float(f"{2 ** (weight - first):.{SCORE_DIGITS}g}") for _, weight in best]
        return Ranked([name for name, _ in best], scores)
