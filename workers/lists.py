"""The finished lists of users in Redis: one for each profile, written together."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Final, cast

import msgspec
import redis
import structlog
from msgspec import UNSET

from schemas.documents import Recommendations
from schemas.keys import Keys
from workers import metrics
from workers.catalogue import Catalogue
from workers.delivery import FinishedList, ListWriter
from workers.profiles import Profile
from workers.wanted import Ranked

log = structlog.get_logger()

FORGOTTEN_S: Final = 600
_LIST: Final = msgspec.json.Decoder(Recommendations)


class FinishedLists:
    """Writes the lists of users under one model version, and finds those that are stale."""

    def __init__(
        self, client: redis.Redis, keys: Keys, version: str, catalogue: Catalogue, profiles: Sequence[Profile]
    ) -> None:
        self._redis = client
        self._keys = keys
        self._version = version
        self._catalogue = catalogue
        self._profiles = profiles
        self._writer = ListWriter(client)

    def write(self, order: str, lists: Mapping[str, Sequence[Ranked]], forgotten: Collection[str]) -> None:
        """Write the lists of each user, which are in the order of the profiles; those of ``forgotten`` users expire."""
        finished = []
        for user, ranked in lists.items():
            for profile, one in zip(self._profiles, ranked, strict=True):
                document = self._document(order, user, profile, one)
                metrics.LISTS.labels(document.source).inc()
                # Who has retracted everything is soon a user never seen; until then the list's stamp stands
                # against a late write of an earlier owner.
                seconds = FORGOTTEN_S if user in forgotten else 0
                key = self._keys.recommendations(user, profile.name)
                finished.append(FinishedList(key, msgspec.json.encode(document), order, seconds))
        metrics.REFUSED_LISTS.inc(self._writer.write(finished))

    def stale(self, users: Sequence[str]) -> list[str]:
        """Return those of ``users`` who miss a list, or have one of another model or rules, or with lost items."""
        if not users:
            return []
        keys = [self._keys.recommendations(user, profile.name) for user in users for profile in self._profiles]
        documents = iter(cast(list[bytes | None], self._redis.mget(keys)))
        # No shortcut: each user has as many documents as there are profiles.
        fresh = [[self._is_fresh(next(documents), profile) for profile in self._profiles] for _ in users]
        return [user for user, own in zip(users, fresh, strict=True) if not all(own)]

    def _document(self, order: str, user: str, profile: Profile, ranked: Ranked) -> Recommendations:
        return Recommendations(
            order=order,
            user_id=user,
            model=self._version,
            source="model" if ranked.code else "popular",
            generated_at=time.time(),
            items=ranked.items,
            scores=ranked.scores,
            profile=profile.name,
            rules=profile.rules,
            because=UNSET if ranked.because is None else ranked.because,
            biases=UNSET if ranked.biases is None else ranked.biases,
        )

    def _is_fresh(self, document: bytes | None, profile: Profile) -> bool:
        if document is None:
            return False
        try:
            stored = _LIST.decode(document)
        except msgspec.DecodeError as error:
            log.error("list_damaged", reason=str(error))
            return False
        same = stored.model == self._version and stored.rules == profile.rules
        return same and all(self._catalogue.servable(stored.items))
