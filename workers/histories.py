"""A user's interactions, folded into the history that is kept."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from schemas.events import DISMISS
from schemas.records import Touch, pack_history, unpack_history
from workers.decoding import Interaction

SECONDS_A_DAY: Final = 86_400


class Histories:
    """The histories of the users of one batch, changed event by event.

    A new interaction with an item replaces the older one and stands at the end; weight 0 removes it;
    beyond ``limit`` the oldest is forgotten. Dismissals are counted by themselves.
    """

    def __init__(self, stored: dict[str, bytes | None], limit: int) -> None:
        self._touches = {
            user: {touch.item_id: touch for touch in unpack_history(data)} for user, data in stored.items()
        }
        self._limit = limit

    def fold(self, interaction: Interaction) -> int:
        """Apply one interaction; return +1 if the user came into being by it, -1 if it ceased, else 0."""
        touches = self._touches[interaction.user_id]
        before = bool(touches)
        touches.pop(interaction.item_id, None)
        if interaction.weight > 0:
            touches[interaction.item_id] = Touch(
                interaction.item_id, interaction.weight, interaction.timestamp, interaction.kind
            )
        if len(touches) > self._limit:
            dismisses = interaction.kind == DISMISS
            alike = [touch.item_id for touch in touches.values() if (touch.kind == DISMISS) == dismisses]
            if len(alike) > self._limit:
                del touches[alike[0]]
        return bool(touches) - before

    def has(self, user_id: str, item_id: str) -> bool:
        """Return whether the user has an interaction with the item."""
        return item_id in self._touches[user_id]

    def weighted(self, user_id: str) -> list[tuple[str, float]]:
        """Return (item id, weight) of each interaction but dismissals, oldest first."""
        return weighted(self._touches[user_id].values())

    def dismissed(self, user_id: str) -> frozenset[str]:
        """Return the items that the user dismissed."""
        return dismissed(self._touches[user_id].values())

    def is_empty(self, user_id: str) -> bool:
        """Return whether nothing is kept of the user."""
        return not self._touches[user_id]

    def packed(self) -> dict[str, bytes | None]:
        """Return each user's history as stored, None for an empty one."""
        return {
            user: pack_history(list(touches.values())) if touches else None for user, touches in self._touches.items()
        }


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
