"""Online quality: was the item of an interaction in the list that its user had?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workers import metrics

if TYPE_CHECKING:  # Importing them for real imports TensorFlow.
    from workers.catalogue import Catalogue
    from workers.decoding import Interaction
    from workers.listed import Listed, Standing

HIT_AT: Final = 10


class Judgement(NamedTuple):
    """One interaction against one list of its user. ``rank`` counts from 1; 0: the item was not in the list."""

    user_id: str
    profile: str
    model: str
    source: str
    own: bool
    rank: int
    age_s: float


def judge(
    interactions: Sequence[Interaction], listed: Listed, popular: Mapping[str, Standing | None], catalogue: Catalogue
) -> list[Judgement]:
    """Compare ``interactions`` with the lists that stand now, by profile: the user's own, else the popular one.

    An interaction that is older than the list is left out, because nobody knows what its user saw: that is so
    for a backlog, and for a batch that is repeated after its lists were written.
    """
    judgements = []
    slots = catalogue.slots([interaction.item_id for interaction in interactions]).tolist()
    for interaction, slot in zip(interactions, slots, strict=True):
        for profile, everyones in popular.items():
            own = listed.find(profile, interaction.user_id)
            standing = own or everyones
            if standing is None:
                continue
            age_s = interaction.produced_ms / 1000 - standing.generated_at
            if age_s < 0:
                continue
            places = np.flatnonzero(standing.slots == slot) if slot >= 0 else np.empty(0, np.int64)
            rank = int(places[0]) + 1 if len(places) else 0
            judgements.append(
                Judgement(interaction.user_id, profile, standing.model, standing.source, own is not None, rank, age_s)
            )
    return judgements


def observe(judgements: Iterable[Judgement]) -> None:
    """Add to the metrics."""
    for found in judgements:
        labels = (found.model, found.profile, found.source)
        metrics.JUDGED.labels(*labels).inc()
        metrics.LIST_AGE_SECONDS.labels(*labels).observe(found.age_s)
        # Without a hit the series are there all the same, at 0.
        metrics.HITS.labels(*labels, str(HIT_AT)).inc(1 <= found.rank <= HIT_AT)
        metrics.HITS.labels(*labels, "list").inc(found.rank > 0)
        metrics.RECIPROCAL_RANK.labels(*labels).inc(1 / found.rank if found.rank else 0)


class Coverage:
    """Which items stand in a list, found a block of users at a time: a round over all users sets the metric."""

    def __init__(self, catalogue: Catalogue, model: str, profiles: Iterable[str]) -> None:
        self._catalogue = catalogue
        self._model = model
        self._seen: dict[str, NDArray[np.bool_]] = {profile: np.zeros(0, bool) for profile in profiles}
        self._block = 0
        self._todo: list[Listed] = []

    def look_on(self, listed: Sequence[Listed]) -> None:
        """Look at one more block of one of ``listed``, the lists of the partitions."""
        if not self._todo:
            for profile, seen in self._seen.items():
                metrics.COVERAGE.labels(self._model, profile).set(self._catalogue.coverage(seen))
                seen[:] = False
            self._todo, self._block = list(listed), 0
            return
        more = [self._look(profile) for profile in self._seen]
        self._block += 1
        if not any(more):
            self._todo.pop()
            self._block = 0

    def _look(self, profile: str) -> bool:
        slots = self._todo[-1].block(profile, self._model, self._block)
        if slots is None:
            return False
        seen = self._seen[profile]
        highest = int(slots.max(initial=-1))
        if highest >= len(seen):
            seen = self._seen[profile] = np.concatenate([seen, np.zeros(highest + 1, bool)])
        seen[slots[slots >= 0]] = True
        return True
