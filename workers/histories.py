"""A user's interactions, folded into the history that is kept."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

from schemas.events import DISMISS
from schemas.records import Touch, pack_history, spliced_history, unpack_history
from workers.decoding import Interaction

SECONDS_A_DAY: Final = 86_400


class Histories:
    """The histories of the users of one batch, changed event by event; each is decoded when it is first looked at.

    A new interaction with an item replaces the older one and stands at the end; weight 0 removes it;
    beyond ``limit`` the oldest is forgotten. Dismissals are counted by themselves.

    Two threads may look at different users.
    """

    def __init__(self, stored: dict[str, bytes | None], limit: int) -> None:
        self._stored = stored
        self._touches: dict[str, dict[str, Touch]] = {}
        self._limit = limit
        # Users whose history has only lost interactions at its beginning and won some at its end.
        self._moved: dict[str, _Moved] = {}

    def fold(self, interaction: Interaction) -> int:
        """Apply one interaction; return +1 if the user came into being by it, -1 if it ceased, else 0."""
        user, item = interaction.user_id, interaction.item_id
        touches = self._of(user)
        before = bool(touches)
        moved = self._moved.get(user)
        if touches.pop(item, None) is not None:
            moved = None
        if interaction.weight > 0:
            touch = touches[item] = Touch(item, interaction.weight, interaction.timestamp, interaction.kind)
            if moved is not None:
                moved.won.append(touch)
        if len(touches) > self._limit:
            dismisses = interaction.kind == DISMISS
            alike = [touch.item_id for touch in touches.values() if (touch.kind == DISMISS) == dismisses]
            if len(alike) > self._limit:
                if moved is not None and alike[0] == next(iter(touches)) and touches[alike[0]] not in moved.won:
                    moved.lost.append(touches[alike[0]])
                else:
                    moved = None
                del touches[alike[0]]
        if moved is None:
            self._moved.pop(user, None)
        return bool(touches) - before

    def has(self, user_id: str, item_id: str) -> bool:
        """Return whether the user has an interaction with the item."""
        return item_id in self._of(user_id)

    def weighted(self, user_id: str) -> list[tuple[str, float]]:
        """Return (item id, weight) of each interaction but dismissals, oldest first."""
        return weighted(self._of(user_id).values())

    def dismissed(self, user_id: str) -> frozenset[str]:
        """Return the items that the user dismissed."""
        return dismissed(self._of(user_id).values())

    def is_empty(self, user_id: str) -> bool:
        """Return whether nothing is kept of the user."""
        return not self._of(user_id)

    def packed(self) -> dict[str, bytes | None]:
        """Return each user's history as stored, None for an empty one."""
        return {user: self._pack(user) if user in self._touches else data for user, data in self._stored.items()}

    def _of(self, user_id: str) -> dict[str, Touch]:
        touches = self._touches.get(user_id)
        if touches is None:
            stored = unpack_history(self._stored[user_id])
            touches = self._touches[user_id] = {touch.item_id: touch for touch in stored}
            if len(touches) == len(stored) > 0:
                self._moved[user_id] = _Moved([], [])
        return touches

    def _pack(self, user: str) -> bytes | None:
        touches = self._touches[user]
        if not touches:
            return None
        stored, moved = self._stored[user], self._moved.get(user)
        # Most often one touch is new, and to write the others again takes as long as to read them.
        spliced = None if stored is None or moved is None else spliced_history(stored, moved.lost, moved.won)
        return pack_history(list(touches.values())) if spliced is None else spliced


class _Moved(NamedTuple):
    """What a history has lost at its beginning and won at its end."""

    lost: list[Touch]
    won: list[Touch]


def weighted(history: Iterable[Touch]) -> list[tuple[str, float]]:
    """Return (item id, weight) of each interaction but dismissals, oldest first."""
    return [(touch.item_id, touch.weight) for touch in history if touch.kind != DISMISS]


def dismissed(history: Iterable[Touch]) -> frozenset[str]:
    """Return the items that are never to be recommended."""
    return frozenset(touch.item_id for touch in history if touch.kind == DISMISS)


def popularity_terms(interactions: Iterable[Interaction], half_life_days: float) -> list[str | float]:
    """Return item id and log2 of the weight decayed to Unix time 0, for each interaction that has a weight.

    Forward decay (Cormode et al., "Forward Decay", ICDE 2009) with half-life h: weight w at time t
    counts w 2^(t/h) from then on, so nothing must ever be decayed again. As a logarithm it does not
    overflow. A time that lies after the record's own is cut to it: nobody is popular in advance.
    """
    half_life = half_life_days * SECONDS_A_DAY
    terms: list[str | float] = []
    for interaction in interactions:
        if interaction.weight > 0 and interaction.kind != DISMISS:
            time = min(interaction.timestamp, interaction.produced_ms / 1000)
            terms += (interaction.item_id, time / half_life + math.log2(interaction.weight))
    return terms
