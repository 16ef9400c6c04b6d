"""``evaluate recommendation --protocol prequential``: ask for the list just before each interaction happens.

The model is trained on the earlier interactions of everybody, the others are replayed by time. *streaming* makes
the user code of everything that the user had until then, *daily* of what the user had at the last midnight (UTC).
Both leave out what the user has at that moment, so that only the code differs. Who has no code gets what is popular.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from models.arrays import Doubles, Floats, Ints, Mask
from models.fitting import ReportEpoch
from models.histories import Histories
from models.interaction_network import InteractionNetwork
from schemas.model_settings import ModelSettings
from workers.datasets.interactions import Split, UnusableData
from workers.evaluation.recommendation import train

K: Final = 10
# Of all interactions by time, those that the model is trained on.
_TRAINING_SHARE: Final = 0.6
_MIN_HISTORY: Final = 2
_DAY_S: Final = 86_400
_AT_A_TIME: Final = 1024
_RESAMPLES: Final = 2000


class Result(msgspec.Struct, frozen=True):
    """Hit rates at ten, and the difference with its 95% interval: a bootstrap over the users."""

    dataset: str
    protocol: str
    model: str
    train_seconds: float
    users: int
    interactions: int
    streaming: float
    daily: float
    popularity: float
    streaming_minus_daily: float
    interval: tuple[float, float]
    streaming_without_code: float
    daily_without_code: float


def measure(split: Split, settings: ModelSettings, report: Callable[[str], ReportEpoch]) -> Result:
    """Train on the first of the interactions and replay the others.

    Raises:
        UnusableData: the interactions have no times.
    """
    whole = split.whole
    if not np.ptp(whole.timestamps):
        raise UnusableData(f"{split.name} has no times to replay by")
    end = float(np.quantile(whole.timestamps, _TRAINING_SHARE))
    early = whole.rows(whole.timestamps <= end)
    trained = train(early.take(np.flatnonzero(early.lengths >= _MIN_HISTORY)), split.items, settings, report)
    popularity: Doubles = np.bincount(early.items, minlength=split.items).astype(np.float64)
    replayed = np.flatnonzero(whole.timestamps > end)
    # Where in the history the user stands: just before the interaction, and at the last midnight.
    begins = whole.indptr[whole.users[replayed]]
    midnights = np.floor(whole.timestamps[replayed] / _DAY_S) * _DAY_S
    places: dict[str, Ints] = {"streaming": replayed, "daily": _first_not_before(whole, replayed, midnights)}
    hits = {name: _hits(trained.network, popularity, whole, replayed, begins, known) for name, known in places.items()}
    hits["popularity"] = _hits(None, popularity, whole, replayed, begins, replayed)
    users = whole.users[replayed]
    return Result(
        dataset=split.name,
        protocol="prequential",
        model=settings.interaction_kind,
        train_seconds=trained.seconds,
        users=len(np.unique(users)),
        interactions=len(replayed),
        streaming=float(hits["streaming"].mean()),
        daily=float(hits["daily"].mean()),
        popularity=float(hits["popularity"].mean()),
        streaming_minus_daily=float(hits["streaming"].mean() - hits["daily"].mean()),
        interval=bootstrap(hits["streaming"].astype(np.float64) - hits["daily"], users, settings.seed),
        streaming_without_code=float(np.mean(places["streaming"] == begins)),
        daily_without_code=float(np.mean(places["daily"] == begins)),
    )


def bootstrap(differences: Doubles, users: Ints, seed: int, coverage: float = 0.95) -> tuple[float, float]:
    """Return the interval that covers the mean of ``differences`` ``[n]`` so often, resampling whole users.

    The interactions of one user are alike, so they are not resampled one by one.
    """
    _, rows = np.unique(users, return_inverse=True)
    sums, counts = np.bincount(rows, differences), np.bincount(rows)
    drawn = np.random.default_rng(seed).integers(0, len(sums), (_RESAMPLES, len(sums)))
    low, high = np.quantile(
        sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [(1 - coverage) / 2, (1 + coverage) / 2]
    )
    return float(low), float(high)


def _first_not_before(whole: Histories, rows: Ints, times: Doubles) -> Ints:
    """Return for each of ``rows`` the first row of the same history whose time is not before ``times``."""
    found = np.empty(len(rows), np.int64)
    users = whole.users[rows]
    for user in np.unique(users):
        own = users == user
        start, stop = whole.indptr[user], whole.indptr[user + 1]
        found[own] = start + np.searchsorted(whole.timestamps[start:stop], times[own])
    return found


def _hits(
    network: InteractionNetwork | None, popularity: Doubles, whole: Histories, rows: Ints, begins: Ints, known: Ints
) -> Mask:
    """Return whether the item of each of ``rows`` is in the list made of the history from ``begins`` to ``known``."""
    hits = np.zeros(len(rows), bool)
    for start in range(0, len(rows), _AT_A_TIME):
        some = slice(start, start + _AT_A_TIME)
        scores = np.tile(popularity, (len(rows[some]), 1))
        with_code = known[some] > begins[some]
        if network is not None and with_code.any():
            scores[with_code] = _scores(network, whole.slices(begins[some][with_code], known[some][with_code]))
        # What the user has at this moment is in no list.
        had = whole.slices(begins[some], rows[some])
        scores[had.users, had.items] = -np.inf
        wanted = scores[np.arange(len(scores)), whole.items[rows[some]]]
        # Half of what ties with it is taken to stand before it.
        before = (scores > wanted[:, None]).sum(axis=1) + ((scores == wanted[:, None]).sum(axis=1) - 1) / 2
        hits[some] = before < K
    return hits


def _scores(network: InteractionNetwork, histories: Histories) -> Floats:
    vectors = network.retrieval
    scores: Floats = network.user_codes(histories) @ vectors[:, :-1].T + vectors[:, -1]
    return scores
