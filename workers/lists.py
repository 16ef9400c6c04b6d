"""The finished lists of users in Redis: one for each profile, written together.

What becomes of lists with an item that is gone: they are made anew by the model and a search, which takes the longer
the larger the catalogue is. To cut the item out is a read and a write whatever the catalogue. So where many lists
have it, it is first cut out of all of them, and they are short by one until they are made anew. Until then readers
leave it out, see :mod:`workers.withdrawn`.
"""

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
from workers.delivery import KEEP_EXPIRY, FinishedList, ListWriter
from workers.listed import Listed
from workers.profiles import Profile
from workers.wanted import Ranked
from workers.withdrawn import shortened

log = structlog.get_logger()

FORGOTTEN_S: Final = 600
USERS_CUT_AT_A_TIME: Final = 1024
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

    def write(
        self, order: str, lists: Mapping[str, Sequence[Ranked]], forgotten: Collection[str], listed: Listed
    ) -> None:
        """Write the lists of each user, which are in the order of the profiles, and note them in ``listed``.

        Those of ``forgotten`` users expire.
        """
        finished = []
        written: dict[str, dict[str, Recommendations | None]] = {profile.name: {} for profile in self._profiles}
        for user, ranked in lists.items():
            for profile, one in zip(self._profiles, ranked, strict=True):
                document = written[profile.name][user] = self._document(order, user, profile, one)
                metrics.LISTS.labels(document.source).inc()
                # Who has retracted everything is soon a user never seen; until then the list's stamp stands
                # against a late write of an earlier owner.
                seconds = FORGOTTEN_S if user in forgotten else 0
                key = self._keys.recommendations(user, profile.name)
                finished.append(FinishedList(key, msgspec.json.encode(document), order, seconds))
        metrics.REFUSED_LISTS.inc(self._writer.write(finished))
        for name, documents in written.items():
            listed.put(name, documents)

    def note(self, order: str, lists: Mapping[str, Sequence[Ranked]], listed: Listed) -> None:
        """Note in ``listed`` what :meth:`write` would write, which nobody gets."""
        for place, profile in enumerate(self._profiles):
            documents = {user: self._document(order, user, profile, ranked[place]) for user, ranked in lists.items()}
            listed.put(profile.name, dict(documents))

    def read(self, users: Sequence[str], listed: Listed) -> dict[str, dict[str, Recommendations | None]]:
        """Return each profile's lists of ``users``, None where there is none or it is damaged, and note them."""
        stored = self._stored(users)
        for profile, documents in stored.items():
            listed.put(profile, documents)
        return stored

    def stale(self, users: Sequence[str], listed: Listed) -> tuple[list[str], set[str]]:
        """Return those of ``users`` who miss a list, or have one of another model or rules, or with lost items.

        Also returns the lost items of lists of this model. An item that a list of another has may only not be encoded
        yet under this one.
        """
        stored = self._stored(users)
        stale: dict[str, None] = {}
        gone: set[str] = set()
        for profile in self._profiles if users else ():
            own = {}
            for user, document in stored[profile.name].items():
                if document is None or document.model != self._version:
                    # What is in it does not matter: it is made anew, and noted then.
                    stale[user] = None
                    continue
                own[user] = document
                lost = self._lost(document)
                gone |= lost
                if lost or document.rules != profile.rules:
                    stale[user] = None
            listed.put(profile.name, own)
        return list(stale), gone

    def cut(self, order: str, users: Sequence[str], listed: Listed) -> None:
        """Cut what is gone out of the lists of ``users``.

        ``order`` is the stamp of a list that is made anew now: these know as much as that one would.
        """
        finished = []
        for profile, documents in self.read(users, listed).items():
            shorter = {user: self._cut(document, order) for user, document in documents.items() if document}
            for user, document in shorter.items():
                key = self._keys.recommendations(user, profile)
                finished.append(FinishedList(key, msgspec.json.encode(document), order, KEEP_EXPIRY))
            listed.put(profile, shorter)
        metrics.REFUSED_LISTS.inc(self._writer.write(finished))

    def _stored(self, users: Sequence[str]) -> dict[str, dict[str, Recommendations | None]]:
        stored = {}
        for profile in self._profiles if users else ():
            keys = [self._keys.recommendations(user, profile.name) for user in users]
            documents = cast(list[bytes | None], self._redis.mget(keys))
            stored[profile.name] = dict(zip(users, map(decoded_list, documents), strict=True))
        return stored

    def _cut(self, document: Recommendations, order: str) -> Recommendations:
        kept = shortened(document, self._catalogue.servable(document.items))
        return msgspec.structs.replace(kept, order=order)

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

    def _lost(self, document: Recommendations) -> set[str]:
        servable = self._catalogue.servable(document.items)
        return {name for name, here in zip(document.items, servable, strict=True) if not here}


def decoded_list(document: bytes | None) -> Recommendations | None:
    """Return a list as it is stored, None where there is none or it is damaged, which is logged."""
    if document is None:
        return None
    try:
        return _LIST.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        log.error("list_damaged", reason=str(error))
        return None
