"""The comparison in the demo, on lists whose score is known."""

import msgspec
import numpy as np
import pytest
import redis

from schemas.documents import Recommendations, recommendation_order
from schemas.events import InteractionEvent
from schemas.keys import Keys
from schemas.settings import Settings
from workers.demo.quality import Evaluation, K

ITEMS = [f"film-{n}" for n in range(60)]
USERS = 30


def _events(first: int, last: int) -> list[InteractionEvent]:
    """Even users watch even films in order, odd users odd ones."""
    return [
        InteractionEvent(str(user), ITEMS[2 * n + user % 2], timestamp=float(n))
        for n in range(first, last)
        for user in range(USERS)
    ]


def _serve(client: redis.Redis, keys: Keys, user: int, items: list[str]) -> None:
    document = Recommendations(recommendation_order(1, 1), str(user), "model", "model", 0.0, items, [0.0] * len(items))
    client.set(keys.recommendations(str(user)), msgspec.json.encode(document))


def test_served_lists_are_read_from_redis_and_scored(settings: Settings, redis_client: redis.Redis) -> None:
    keys = Keys(settings.redis.prefix)
    evaluation = Evaluation(ITEMS, _events(0, 15), _events(15, 20))
    for user in range(USERS):
        right = [event.item_id for event in _events(15, 20) if event.user_id == str(user)]
        wrong = [item for item in ITEMS if item not in right][: K - len(right)]
        _serve(redis_client, keys, user, right + wrong if user < USERS // 2 else wrong + right)
    quality = evaluation.compare(redis_client, keys)
    assert quality.served.recall == pytest.approx(1)
    best = 1.0
    late = sum(1 / np.log2(place + 1) for place in range(16, 21)) / sum(1 / np.log2(place + 1) for place in range(1, 6))
    assert quality.served.ndcg == pytest.approx((best + late) / 2)
    assert quality.ease.ndcg <= 1


def test_missing_list_and_unknown_item_find_nothing(settings: Settings, redis_client: redis.Redis) -> None:
    keys = Keys(settings.redis.prefix)
    evaluation = Evaluation(ITEMS, _events(0, 15), _events(15, 20))
    _serve(redis_client, keys, 0, ["film-nobody-knows", ITEMS[30]])
    served = evaluation.served(redis_client, keys)
    assert served.shape == (USERS, K)
    assert served[evaluation.user_ids.index("0"), :3].tolist() == [-1, 30, -1]
    assert (np.delete(served, evaluation.user_ids.index("0"), axis=0) == -1).all()
