"""What stands in lists, what becomes of lists that have an item that is gone, and how they are judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.documents import Recommendations, recommendation_order
from schemas.keys import Keys
from schemas.settings import ProfileSettings, RecommendSettings, Settings
from workers import listed as listed_module
from workers import metrics
from workers.decoding import Interaction
from workers.listed import Affected, Listed, standing, take
from workers.lists import FinishedLists
from workers.profiles import all_profiles
from workers.quality import Coverage, Judgement, judge, observe

PROFILES = all_profiles(RecommendSettings(k=3, profiles={"short": ProfileSettings(k=3)}))
LENGTHS = {profile.name: profile.wanted.k for profile in PROFILES}


class Numbered:
    """Stands for a catalogue: the item "7" has slot 7; those in ``gone`` are not servable."""

    def __init__(self, items: int = 100) -> None:
        self.items = items
        self.gone: set[str] = set()

    def slots(self, ids: Sequence[str]) -> NDArray[np.int64]:
        numbers = [int(name) if name.isdigit() else -1 for name in ids]
        return np.array([n if n < self.items else -1 for n in numbers], np.int64)

    def servable(self, ids: Sequence[str]) -> list[bool]:
        return [name not in self.gone for name in ids]

    def coverage(self, listed: NDArray[np.bool_]) -> float:
        return float(np.count_nonzero(listed)) / self.items


@pytest.fixture
def catalogue() -> Any:
    return Numbered()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed_module, "BLOCK_ROWS", 3)


def made(items: Sequence[int], model: str = "v1", at: float = 1000.0, source: Any = "model") -> Recommendations:
    names = [str(n) for n in items]
    return Recommendations(recommendation_order(1, 5), "user", model, source, at, names, [1.0] * len(names))


def test_a_user_is_found_with_what_was_put_last(catalogue: Any) -> None:
    listed = Listed({"default": 3, "short": 2}, catalogue)
    listed.put("default", {"anna": made([1, 2, 3]), "bert": None})
    listed.put("default", {"anna": made([4], model="v2", at=7.0, source="popular")})
    found = listed.find("default", "anna")
    assert found is not None
    assert found.slots.tolist() == [4, -1, -1]
    assert found[1:] == (7.0, "v2", "popular")
    assert listed.find("default", "bert") is None
    assert listed.find("short", "anna") is None
    assert listed.find("default", "carl") is None
    assert listed.unknown(["anna", "bert", "carl"]) == ["carl"]
    listed.put("short", {"anna": made([9, 8, 7])})
    found = listed.find("short", "anna")
    assert found is not None
    assert found.slots.tolist() == [9, 8], "a longer list of other settings is cut"


_LISTS = st.lists(st.tuples(st.integers(0, 12), st.lists(st.integers(0, 20), max_size=4, unique=True)), max_size=40)


@given(_LISTS, st.sets(st.integers(0, 20), max_size=4))
def test_holders_are_those_whose_last_list_has_an_item(puts: list[tuple[int, list[int]]], gone: set[int]) -> None:
    numbered: Any = Numbered()
    listed = Listed({"default": 4}, numbered)
    last = {}
    for user, items in puts:
        listed.put("default", {str(user): made(items)})
        last[str(user)] = items
    expected = {user for user, items in last.items() if gone & set(items)}
    found = listed.holders(np.array(sorted(gone), np.int64))
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_take_is_first_in_first_out() -> None:
    users = dict.fromkeys("abcde")
    assert [take(users, 2), take(users, 2), take(users, 2), take(users, 2)] == [["a", "b"], ["c", "d"], ["e"], []]


def interaction(user: str, item: str, at: float) -> Interaction:
    return Interaction(user, item, "view", 1.0, at, int(at * 1000))


def test_interactions_are_judged_by_the_list_of_before_or_the_popular_one(catalogue: Any) -> None:
    listed = Listed({"default": 12}, catalogue)
    listed.put("default", {"anna": made([5, 6, 7]), "bert": None})
    popular = standing(made([9, 8], source="popular", at=900.0), catalogue)
    events = [
        interaction("anna", "6", 1010.0),
        interaction("anna", "77", 1010.0),
        interaction("anna", "nobody knows it", 1010.0),
        interaction("anna", "6", 999.0),  # Made before the list was: a backlog, or a repeated batch.
        interaction("bert", "9", 1000.0),
    ]
    assert judge(events, listed, {"default": popular}, catalogue) == [
        Judgement("anna", "default", "v1", "model", True, 2, 10.0),
        Judgement("anna", "default", "v1", "model", True, 0, 10.0),
        Judgement("anna", "default", "v1", "model", True, 0, 10.0),
        Judgement("bert", "default", "v1", "popular", False, 1, 100.0),
    ]
    assert judge(events[4:], listed, {"default": None}, catalogue) == [], "there was no list at all"


def test_metrics_count_hits_at_ten_and_in_the_list() -> None:
    for rank in (1, 4, 11, 0):
        observe([Judgement("anna", "default", "metrics-test", "model", True, rank, 2.0)])

    def value(name: str, **labels: str) -> float | None:
        labels |= {"model": "metrics-test", "profile": "default", "source": "model"}
        return metrics.REGISTRY.get_sample_value(f"latentstream_{name}", labels)

    assert value("judged_interactions_total") == 4
    assert value("hits_total", within="10") == 2
    assert value("hits_total", within="list") == 3
    assert value("reciprocal_rank_total") == pytest.approx(1 + 1 / 4 + 1 / 11)
    assert value("list_age_seconds_sum") == 8


def test_coverage_is_that_of_all_partitions_and_of_one_model(catalogue: Any) -> None:
    parts = [Listed({"default": 2}, catalogue) for _ in range(2)]
    for user in range(8):
        parts[0].put("default", {str(user): made([user, 50])})
    parts[1].put("default", {"x": made([60, 50]), "y": made([70, 71], model="v2")})
    coverage = Coverage(catalogue, "v1", ["default"])
    for _ in range(12):
        coverage.look_on(parts)
    value = metrics.REGISTRY.get_sample_value("latentstream_coverage", {"model": "v1", "profile": "default"})
    assert value == 0.1


@pytest.fixture
def keys(settings: Settings) -> Keys:
    return Keys(settings.redis.prefix)


@pytest.fixture
def lists(redis_client: redis.Redis, keys: Keys, catalogue: Any) -> FinishedLists:
    return FinishedLists(redis_client, keys, "v1", catalogue, PROFILES)


def stored_list(client: redis.Redis, key: str) -> Recommendations:
    document = client.get(key)
    assert isinstance(document, bytes)
    return msgspec.json.decode(document, type=Recommendations)


def test_what_is_gone_is_cut_from_the_lists_of_all_profiles_and_an_expiry_stays(
    redis_client: redis.Redis, keys: Keys, lists: FinishedLists, catalogue: Any
) -> None:
    listed = Listed(LENGTHS, catalogue)
    explained = msgspec.structs.replace(made([1, 2, 3]), because=[[("8", 0.1)], [("8", 0.2)], [("8", 0.3)]])
    redis_client.set(keys.recommendations("anna"), msgspec.json.encode(made([1, 3])))
    redis_client.set(keys.recommendations("anna", "short"), msgspec.json.encode(explained))
    redis_client.set(keys.recommendations("bert"), msgspec.json.encode(made([1, 2])), ex=500)
    redis_client.set(keys.recommendations("carl"), b"damaged")
    assert lists.read(["anna", "bert", "carl", "dora"], listed)["default"]["carl"] is None
    catalogue.gone = {"2"}
    assert listed.holders(np.array([2])) == ["anna", "bert"]
    order = recommendation_order(3, 9)
    lists.cut(order, ["anna", "bert", "carl", "dora"], listed)
    assert stored_list(redis_client, keys.recommendations("bert")).items == ["1"]
    cut = stored_list(redis_client, keys.recommendations("anna", "short"))
    assert (cut.order, cut.items, cut.because) == (order, ["1", "3"], [[("8", 0.1)], [("8", 0.3)]])
    assert len(cut.scores) == 2
    assert cut.generated_at == 1000.0
    assert redis_client.ttl(keys.recommendations("anna")) == -1
    assert 0 < int(redis_client.ttl(keys.recommendations("bert"))) <= 500
    assert redis_client.get(keys.recommendations("carl")) == b"damaged"
    assert not redis_client.exists(keys.recommendations("dora"))
    assert listed.holders(np.array([2])) == []


def test_a_zombie_cuts_nothing_out_of_a_newer_list(
    redis_client: redis.Redis, keys: Keys, lists: FinishedLists, catalogue: Any
) -> None:
    newer = msgspec.structs.replace(made([1, 2, 3]), order=recommendation_order(4, 1))
    redis_client.set(keys.recommendations("anna"), msgspec.json.encode(newer))
    catalogue.gone = {"2"}
    lists.cut(recommendation_order(3, 9), ["anna"], Listed(LENGTHS, catalogue))
    assert stored_list(redis_client, keys.recommendations("anna")).items == ["1", "2", "3"]


def test_stale_are_lists_of_another_model_damaged_absent_or_with_what_is_gone(
    redis_client: redis.Redis, keys: Keys, lists: FinishedLists, catalogue: Any
) -> None:
    users = ["fresh", "older", "damaged", "half", "lost"]
    gone_from = {"lost": 5, "older": 6}
    for user in users:
        for profile in PROFILES:
            document = msgspec.structs.replace(made([gone_from.get(user, 1)]), rules=profile.rules)
            if user == "older":
                document = msgspec.structs.replace(document, model="v0")
            redis_client.set(keys.recommendations(user, profile.name), msgspec.json.encode(document))
    redis_client.set(keys.recommendations("damaged"), b"{")
    redis_client.delete(keys.recommendations("half", "short"))
    catalogue.gone = {"5", "6"}
    stale, gone = lists.stale([*users, "absent"], Listed(LENGTHS, catalogue))
    assert set(stale) == {*users[1:], "absent"}
    assert gone == {"5"}, "what a list of another model has may come yet"


def test_few_users_are_not_cut_but_made_anew_at_once() -> None:
    affected = Affected()
    affected.add(["anna", "bert"], 2)
    assert not affected.cut
    assert list(affected.renew) == ["anna", "bert"]
