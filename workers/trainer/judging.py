"""How good a model's lists are, through the catalogue and the ranker that serve them.

The interactions after the time up to which a model was trained are gone through: just before each, would the list of
that user have had the item? The user is the history at that moment, as fold-in has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.arrays import Doubles, Ints
from models.bundle import Bundle
from models.histories import Histories
from models.training import TrainingData
from schemas.records import pack_codes, version_tag
from workers.catalogue import Catalogue
from workers.ranking import Ranker
from workers.wanted import Wanted

# Length of the lists that are judged. On the first 40 % of MovieLens-100K, lived through by `evaluate retraining`, the
# difference between two models was a larger multiple of its own deviation than with 20 in 9 of 12 comparisons.
K: Final = 50
# Of more than so many interactions a random choice is judged: the interval hardly becomes narrower.
MOST_QUESTIONS: Final = 8192
_AT_A_TIME: Final = 512
_ITEMS_AT_A_TIME: Final = 4096
# Is told how many of how many questions are answered.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Questions:
    """Moments just before interactions: the user, everything that they had, and what they touched then."""

    users: Ints  # [n]
    histories: Histories  # of n moments
    items: Ints  # [n]

    def __len__(self) -> int:
        """Return the number of questions."""
        return len(self.items)


def questions(data: TrainingData, until: float, seed: int) -> Questions:
    """Return the moments after ``until`` at which somebody with a history touched an item.

    What has the very time of the interaction is no history: its order would be that of a file.
    """
    assert data.interactions is not None  # noqa: S101 - what has no interactions has no time to split them at
    whole = Histories.of(data.interactions, int(data.interactions.users.max()) + 1)
    rows = np.flatnonzero(whole.timestamps > until)
    users, times = whole.users[rows], whole.timestamps[rows]
    begins = whole.indptr[users]
    ends = np.array(
        [
            begin + np.searchsorted(whole.timestamps[begin:row], time)
            for begin, row, time in zip(begins.tolist(), rows.tolist(), times.tolist(), strict=True)
        ],
        np.int64,
    )
    asked = np.flatnonzero(ends > begins)
    if len(asked) > MOST_QUESTIONS:
        asked = np.sort(np.random.default_rng(seed).choice(asked, MOST_QUESTIONS, replace=False))
    return Questions(users[asked], whole.slices(begins[asked], ends[asked]), whole.items[rows[asked]])


def served_places(
    bundle: Bundle, data: TrainingData, unavailable: set[str], asked: Questions, progress: Progress
) -> Ints:
    """Return the place of each item in the list that ``bundle`` would have served, from 1; 0 where it is not listed."""
    catalogue = _catalogue(bundle, data, unavailable)
    try:
        catalogue.retrieval.wait_sealed()
        ranker = Ranker(bundle, catalogue)
        names = np.array(data.item_ids, object)
        places = np.zeros(len(asked), np.int64)
        for start in range(0, len(asked), _AT_A_TIME):
            progress(start, len(asked))
            rows = np.arange(start, min(start + _AT_A_TIME, len(asked)))
            some = asked.histories.take(rows)
            pairs = list(zip(names[some.items].tolist(), some.weights.tolist(), strict=True))
            histories = [pairs[begin:end] for begin, end in zip(some.indptr[:-1], some.indptr[1:], strict=True)]
            lists = ranker.for_histories(histories, [Wanted(K)] * len(rows))
            for row, listed in zip(rows.tolist(), lists, strict=True):
                wanted = names[asked.items[row]]
                places[row] = listed.items.index(wanted) + 1 if wanted in listed.items else 0
        return places
    finally:
        catalogue.close()


def popular_places(data: TrainingData, until: float, asked: Questions) -> Ints:
    """Return the same of a list of what most have by ``until``, without what the user has."""
    assert data.interactions is not None  # noqa: S101 - as above
    early = data.interactions.items[data.interactions.timestamps <= until]
    counts = np.bincount(early, minlength=len(data.item_ids))
    longest = int(asked.histories.lengths.max(initial=0))
    popular = np.argsort(-counts, kind="stable")[: K + longest]
    places = np.zeros(len(asked), np.int64)
    for row, had in enumerate(np.split(asked.histories.items, asked.histories.indptr[1:-1])):
        listed = popular[~np.isin(popular, had)][:K]
        found = np.flatnonzero(listed == asked.items[row])
        places[row] = found[0] + 1 if len(found) else 0
    return places


def gains(places: Ints) -> Doubles:
    """Return the NDCG of lists with one item to find: 1 / log2(place + 1), 0 where it is not listed."""
    found: Doubles = np.where(places > 0, 1 / np.log2(np.maximum(places, 1) + 1), 0.0)
    return found


def random_gain(items: int) -> float:
    """Return the gain of lists in random order over so many items."""
    return float(gains(np.arange(1, min(K, items) + 1)).sum()) / max(items, 1)


def _catalogue(bundle: Bundle, data: TrainingData, unavailable: set[str]) -> Catalogue:
    """Return a catalogue of all items, as the encoder would have stored them under this model."""
    catalogue = Catalogue(bundle)
    if not data.published:
        return catalogue  # The model's own items are in it.
    tag = version_tag(bundle.version)
    content = bundle.content if bundle.content and bundle.content.input_shape == data.input_shape else None
    available = np.array([name not in unavailable for name in data.item_ids])
    coded = data.has_features & (content is not None)
    with catalogue.filling():
        for with_code in (False, True):
            rows = np.flatnonzero(coded == with_code)
            for start in range(0, len(rows), _ITEMS_AT_A_TIME):
                some = rows[start : start + _ITEMS_AT_A_TIME]
                codes = np.empty((len(some), 0), np.uint8)
                if with_code and content is not None and data.features is not None:
                    codes = content.codes(data.features[some])
                nothing = np.zeros(len(some), np.float32)
                unmarked = np.zeros(len(some), bool)
                records = pack_codes(tag, available[some], unmarked, nothing, nothing * np.nan, codes)
                catalogue.apply(0, [data.item_ids[row] for row in some], records, [b""] * len(some))
    return catalogue
