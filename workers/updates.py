"""Users whose lists are made anew, and what a batch makes of a partition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

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
    # The same by a model that serves nobody.
    shadowed: dict[str, list[Ranked]] = field(default_factory=dict)
    judgements: list[Judgement] = field(default_factory=list)

    def each(self) -> list[UserOf]:
        """Return each user with these lists."""
        return [(self, user) for user in self.users]


UserOf = tuple[Lists, str]


class Update:
    """What a batch makes of one partition. Its users are folded in some at a time, each by itself."""

    def __init__(self, part: Decoded[Interaction], lists: Lists) -> None:
        self.part = part
        self.lists = lists
        # What each interaction changes in the number of users.
        self.changes = [0] * len(part.changes)
        self._places: defaultdict[str, list[int]] = defaultdict(list)
        for place, interaction in enumerate(part.changes):
            self._places[interaction.user_id].append(place)

    def fold(self, users: Iterable[str]) -> list[Interaction]:
        """Fold in what ``users`` did; return their first contacts with the items that they want."""
        histories = self.lists.histories
        first_contacts = []
        for user in users:
            for place in self._places[user]:
                interaction = self.part.changes[place]
                if wants(interaction) and not histories.has(user, interaction.item_id):
                    first_contacts.append(interaction)
                self.changes[place] = histories.fold(interaction)
        return first_contacts


def by_partition(users: Sequence[UserOf]) -> list[tuple[Lists, list[str]]]:
    """Return the users of each partition, in their order."""
    found: dict[int, tuple[Lists, list[str]]] = {}
    for lists, user in users:
        found.setdefault(lists.owned.partition, (lists, []))[1].append(user)
    return list(found.values())


def wants(interaction: Interaction) -> bool:
    """Return whether it says that the user wants something, and does not take that back."""
    return interaction.weight > 0 and interaction.kind != DISMISS
