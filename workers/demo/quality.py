"""The lists that readers find in Redis, against popularity and EASE on the same split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, cast

import msgspec
import numpy as np
import redis
from numpy.typing import NDArray

from models.baselines import Ease, Popularity, Recommender
from models.histories import Histories, Interactions
from models.metrics import ndcg_at_k, recall_at_k
from schemas.documents import Recommendations
from schemas.events import InteractionEvent
from schemas.keys import Keys

K: Final = 20
# EASE's only parameter is chosen among these, on the last fifth of each training history.
RIDGES: Final = (30.0, 100.0, 200.0, 300.0, 500.0, 800.0, 1300.0)
VALIDATION_SHARE: Final = 0.2


class Score(NamedTuple):
    """How good the first ``K`` of each list are."""

    recall: float
    ndcg: float


class Quality(NamedTuple):
    """The lists served, and what they have to beat."""

    served: Score
    ease: Score
    popularity: Score
    ridge: float


class Evaluation:
    """One split of the interactions: who had what (training), and what each took next (test)."""

    def __init__(
        self, item_ids: Sequence[str], train: Sequence[InteractionEvent], test: Sequence[InteractionEvent]
    ) -> None:
        self._rows = {item_id: row for row, item_id in enumerate(item_ids)}
        self.user_ids = list(dict.fromkeys(event.user_id for event in train))
        users = {user_id: row for row, user_id in enumerate(self.user_ids)}
        self._train = Histories.of(self._interactions(train, users), len(users))
        self._relevant = _per_user(Histories.of(self._interactions(test, users), len(users)))

    def compare(self, client: redis.Redis, keys: Keys) -> Quality:
        """Return the score of the lists in Redis and of both baselines."""
        items = len(self._rows)
        ridge = self._choose_ridge()
        return Quality(
            served=self._score(self.served(client, keys)),
            ease=self._score_of(Ease.fit(self._train, items, ridge)),
            popularity=self._score_of(Popularity.fit(self._train, items)),
            ridge=ridge,
        )

    def served(self, client: redis.Redis, keys: Keys) -> NDArray[np.int64]:
        """Return the items of each user's list in Redis, int64 ``[users, K]``; -1 where a list is short."""
        ranked = np.full((len(self.user_ids), K), -1, np.int64)
        documents = cast(list[bytes | None], client.mget([keys.recommendations(user) for user in self.user_ids]))
        for row, document in zip(ranked, documents, strict=True):
            if document is not None:
                listed = msgspec.json.decode(document, type=Recommendations).items[:K]
                row[: len(listed)] = [self._rows.get(item_id, -1) for item_id in listed]
        return ranked

    def _choose_ridge(self) -> float:
        fitted, held = self._train.split_last(VALIDATION_SHARE)
        relevant = _per_user(held)
        scores = {}
        for ridge in RIDGES:
            ranked, _ = Ease.fit(fitted, len(self._rows), ridge).recommend(fitted, K)
            scores[ridge] = ndcg_at_k(ranked, relevant, K)
        return max(scores, key=lambda ridge: scores[ridge])

    def _score_of(self, baseline: Recommender) -> Score:
        return self._score(baseline.recommend(self._train, K)[0])

    def _score(self, ranked: NDArray[np.int64]) -> Score:
        return Score(recall_at_k(ranked, self._relevant, K), ndcg_at_k(ranked, self._relevant, K))

    def _interactions(self, events: Sequence[InteractionEvent], users: dict[str, int]) -> Interactions:
        return Interactions(
            users=np.array([users[event.user_id] for event in events], np.int64),
            items=np.array([self._rows[event.item_id] for event in events], np.int64),
            weights=np.array([event.weight for event in events], np.float32),
            timestamps=np.array([event.timestamp or 0.0 for event in events], np.float64),
        )


def _per_user(histories: Histories) -> list[NDArray[np.int64]]:
    return np.split(histories.items, histories.indptr[1:-1])
