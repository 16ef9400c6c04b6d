"""What is gone but may still stand in finished lists: whoever reads a list leaves it out.

To cut an item out of all lists takes the longer the more lists have it (some 8,000 a second on two cores). To note its
id takes one command: it stands in a sorted set until no list can have it any more.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import redis

from schemas.documents import Recommendations
from schemas.keys import Keys

if TYPE_CHECKING:  # Importing it for real imports TensorFlow.
    from workers.catalogue import Catalogue

# How long an id stands there after it was last written: longer than it takes until the partitions of a worker that died
# have a new owner, and than lists live that no sweep finds (see workers.lists.FORGOTTEN_S).
NOTED_S: Final = 900.0
_LOOK_S: Final = 1.0
_RENEW_S: Final = 20.0
_IDS_AT_A_TIME: Final = 1000


class Withdrawn:
    """The ids that this recommender has noted, or found noted by an earlier owner of its partitions.

    Items are as they are in the first of ``catalogues``; that of a challenger may be behind it, or ahead.

    No id is forgotten while any list is being cleaned. So under more changes of stock than can be cleaned there are as
    many as have gone since all was clean.
    """

    def __init__(self, client: redis.Redis, keys: Keys, catalogues: Sequence[Catalogue]) -> None:
        self._redis = client
        self._key = keys.withdrawn
        self._catalogues = catalogues
        # Until when each stands there, in Unix time.
        self._until: dict[str, float] = {}
        self._look_at = self._renew_at = 0.0

    def note(self, ids: Iterable[str]) -> None:
        """Have readers leave out those of ``ids`` that are gone, from now on."""
        names = list(ids)
        gone = [name for name, servable in zip(names, self._catalogues[0].servable(names), strict=True) if not servable]
        if gone:
            self._write(gone)

    def adopt(self) -> None:
        """Take over what others have noted: lists of theirs that become ours may not be clean yet."""
        found = self._redis.zrange(self._key, 0, -1, withscores=True)
        self._until |= {name.decode(): until for name, until in cast(list[tuple[bytes, float]], found)}

    def follow(self, *, busy: bool) -> None:
        """Take back what is available again; keep the others while ``busy``, which is while lists are cleaned."""
        now = time.time()
        if not self._until or now < self._look_at:
            return
        self._look_at = now + _LOOK_S
        names = list(self._until)
        back = [name for name, servable in zip(names, self._catalogues[0].servable(names), strict=True) if servable]
        for start in range(0, len(back), _IDS_AT_A_TIME):
            self._redis.zrem(self._key, *back[start : start + _IDS_AT_A_TIME])
        for name in back:
            del self._until[name]
        # A recommender whose catalogue was behind may have taken them back, and be gone.
        if missing := self._missing([name for name, until in self._until.items() if until > now]):
            self._write(missing)
        names = list(self._until)
        # What the other model still serves, it writes into new lists.
        if busy or any(any(catalogue.servable(names)) for catalogue in self._catalogues[1:]):
            if names and now >= self._renew_at:
                self._write(names)
        elif lapsed := [name for name, until in self._until.items() if until <= now]:
            # By the time and not by name: another recommender may have written them again.
            self._redis.zremrangebyscore(self._key, "-inf", now)
            for name in lapsed:
                del self._until[name]

    def _missing(self, names: list[str]) -> list[str]:
        pipeline = self._redis.pipeline(transaction=False)
        for start in range(0, len(names), _IDS_AT_A_TIME):
            pipeline.zmscore(self._key, names[start : start + _IDS_AT_A_TIME])
        scores = (score for part in pipeline.execute() for score in part)
        return [name for name, score in zip(names, scores, strict=True) if score is None]

    def _write(self, names: Sequence[str]) -> None:
        now = time.time()
        self._until |= dict.fromkeys(names, now + NOTED_S)
        pipeline = self._redis.pipeline(transaction=False)
        for start in range(0, len(names), _IDS_AT_A_TIME):
            pipeline.zadd(self._key, dict.fromkeys(names[start : start + _IDS_AT_A_TIME], now + NOTED_S))
        # Should nobody be left to remove what has had its time.
        pipeline.expire(self._key, int(NOTED_S))
        pipeline.execute()
        # Not before: what could not be written is written at the next look.
        self._renew_at = now + _RENEW_S


def without_withdrawn(document: Recommendations, client: redis.Redis, keys: Keys) -> Recommendations:
    """Return a list as its reader is to see it."""
    if not document.items:
        return document
    return shortened(document, [until is None for until in client.zmscore(keys.withdrawn, document.items)])


def shortened(document: Recommendations, keep: Sequence[bool]) -> Recommendations:
    """Return a list with only the places that ``keep`` says."""
    # Scores, reasons: whatever the document has for each item is cut alike.
    parallel: dict[str, Any] = {
        name: [part for part, kept in zip(value, keep, strict=True) if kept]
        for name, value in msgspec.structs.asdict(document).items()
        if isinstance(value, list)
    }
    return msgspec.structs.replace(document, **parallel)
