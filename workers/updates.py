"""Users whose lists are made anew, and what a batch makes of a partition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.events import DISMISS
from workers.decoding import Decoded, Interaction
from workers.delivery import Batch
from workers.histories import Histories
from workers.quality import Judgement
from workers.source import Owned
from workers.wanted import Ranked


@dataclass(slots=True)
class Lists:
    """Users of one partition whose lists are made anew, and the writes that belong to them.

    ``following`` is the offset after the last interaction that the histories know of.
    """

    owned: Owned
    following: int
    histories: Histories
    users: list[str]
    batch: Batch
    # In the order of the profiles.
    ranked: dict[str, list[Ranked]] = field(default_factory=dict)
    judgements: list[Judgement] = field(default_factory=list)

    def each(self) -> list[UserOf]:
        """Return each user with these lists."""
        return [(self, user) for user in self.users]


UserOf = tuple[Lists, str]


class Update(NamedTuple):
    """What a batch makes of one partition: its users' lists, and its counts of users and buckets."""

    part: Decoded[Interaction]
    lists: Lists
    ids: int
    buckets: int


def by_partition(users: Sequence[UserOf]) -> list[tuple[Lists, list[str]]]:
    """Return the users of each partition, in their order."""
    found: dict[int, tuple[Lists, list[str]]] = {}
    for lists, user in users:
        found.setdefault(lists.owned.partition, (lists, []))[1].append(user)
    return list(found.values())


def wants(interaction: Interaction) -> bool:
    """Return whether it says that the user wants something, and does not take that back."""
    return interaction.weight > 0 and interaction.kind != DISMISS
