"""What is popular, what trends, and the finished lists of profiles, in a real Redis."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import redis

from schemas.documents import Recommendations, recommendation_order
from schemas.filters import parse_filter
from schemas.keys import Keys
from schemas.settings import ProfileSettings, RecommendSettings, Settings
from tests.workers.flat import VERSION, flat_catalogue, record
from workers.catalogue import Catalogue
from workers.listed import Listed
from workers.lists import FORGOTTEN_S, FinishedLists
from workers.popularity import Popularity
from workers.profiles import all_profiles
from workers.wanted import Ranked, Wanted

PARTITIONS = 2
DAY_S = 86_400.0


def settings_with(**profiles: dict[str, Any]) -> RecommendSettings:
    return RecommendSettings.model_validate({"k": 4, "profiles": profiles})


SETTINGS = settings_with(
    cheap={"k": 3, "filter": {"price": {"lt": 5}}}, mixed={"category": "genre", "per_category": 1, "diversity": 0.5}
)


@pytest.fixture
def keys(settings: Settings) -> Keys:
    return Keys(settings.redis.prefix)


@pytest.fixture
def catalogue() -> Iterator[Catalogue]:
    """Items 0 to 29, of three genres, with prices from 0 to 9."""
    made = flat_catalogue()
    documents = [msgspec.json.encode({"price": n % 10, "genre": f"g{n % 3}"}) for n in range(30)]
    made.apply(0, [str(n) for n in range(30)], [record(bytes([n + 1, 2 * n])) for n in range(30)], documents)
    yield made
    made.close()


@pytest.fixture
def popularity(redis_client: redis.Redis, keys: Keys, catalogue: Catalogue) -> Popularity:
    return Popularity(redis_client, keys, PARTITIONS, catalogue, VERSION, SETTINGS)


def count(
    client: redis.Redis, keys: Keys, weights: dict[str, float], *, recent: dict[str, float] | None = None
) -> None:
    """Store decayed weights as they are now; of each item a half in each partition."""
    now = time.time()
    for partition in range(PARTITIONS):
        users = keys.users(partition)
        for key, own, half_life in (
            (users.popularity, weights, SETTINGS.popularity_half_life_days * DAY_S),
            (users.trending, recent or {}, SETTINGS.trending_half_life_hours * 3600),
        ):
            if own:
                client.zadd(key, {name: now / half_life + math.log2(weight / 2) for name, weight in own.items()})


def stored(client: redis.Redis, key: str) -> dict[str, Any]:
    data: Any = client.get(key)
    document: dict[str, Any] = json.loads(data)
    return document


def test_each_profile_has_what_is_popular_by_its_rules(
    redis_client: redis.Redis, keys: Keys, popularity: Popularity
) -> None:
    count(redis_client, keys, {str(n): 100.0 - n for n in range(25)} | {"unknown": 1000.0})
    popularity.refresh()
    everybody = stored(redis_client, keys.popular())
    assert (everybody["items"], everybody["profile"]) == (["0", "1", "2", "3"], "default")
    assert everybody["scores"] == pytest.approx([1, 0.99, 0.98, 0.97], abs=1e-5)
    cheap = stored(redis_client, keys.popular("cheap"))
    assert (cheap["items"], cheap["profile"], cheap["source"]) == (["0", "1", "2"], "cheap", "popular")
    assert stored(redis_client, keys.popular("mixed"))["items"][0] == "0"
    assert sorted(int(name) % 3 for name in stored(redis_client, keys.popular("mixed"))["items"]) == [0, 1, 2]
    assert stored(redis_client, keys.trending())["items"] == []


def test_a_list_of_what_is_popular_goes_on_behind_what_it_may_not_have(
    redis_client: redis.Redis, keys: Keys, popularity: Popularity
) -> None:
    count(redis_client, keys, {str(n): 100.0 - n for n in range(30)})
    popularity.refresh()
    wanted = Wanted(3, parse_filter({"price": {"gte": 8}}), frozenset({"9"}))
    found = popularity.top(wanted, {"8", "nobody"})
    assert found.items == ["18", "19", "28"]
    assert found.scores == pytest.approx([1, 81 / 82, 72 / 82], abs=1e-5)
    capped = popularity.top(Wanted(10, category="genre", per_category=2), {"0"})
    assert capped.items == ["1", "2", "3", "4", "5", "6"]


def test_what_rises_trends_and_what_is_always_popular_does_not(
    redis_client: redis.Redis, keys: Keys, popularity: Popularity
) -> None:
    longer = {"0": 7000.0, "1": 700.0, "2": 40.0, "3": 1.0, "4": 300.0}
    recent = {"0": 1000.0, "1": 100.0, "2": 40.0, "3": 1.0, "4": 10.0, "unknown": 500.0}
    count(redis_client, keys, longer, recent=recent)
    popularity.refresh()
    trending = stored(redis_client, keys.trending())
    assert (trending["items"][:2], trending["source"]) == (["2", "3"], "trending")
    # 40 ln 7 - 40 (1 - 1/7) against ln 7 - (1 - 1/7).
    assert trending["scores"][:2] == pytest.approx([1, 1 / 40], rel=0.01)
    assert "4" not in trending["items"]
    assert stored(redis_client, keys.popular())["items"] == ["0", "1", "4", "2"]
    found = popularity.trending(Wanted(5, parse_filter({"price": 3}), frozenset()))
    assert (found.items, found.scores) == (["3"], [1.0])


def test_lists_are_written_when_they_change(redis_client: redis.Redis, keys: Keys, popularity: Popularity) -> None:
    popularity.refresh()
    assert stored(redis_client, keys.popular("mixed"))["items"] == []
    redis_client.delete(keys.popular())
    count(redis_client, keys, {"5": 1.0})
    popularity.refresh()
    assert stored(redis_client, keys.popular())["items"] == ["5"]
    before = stored(redis_client, keys.popular("cheap"))
    popularity.refresh()
    assert stored(redis_client, keys.popular("cheap")) == before


def test_a_list_that_another_recommender_wrote_last_is_put_right(
    redis_client: redis.Redis, keys: Keys, popularity: Popularity
) -> None:
    """Who stood still knows items as they were, and may be gone before it knows better."""
    count(redis_client, keys, {str(n): 100.0 - n for n in range(25)})
    popularity.refresh()
    ours = stored(redis_client, keys.popular())
    behind = flat_catalogue()
    behind.apply(0, ["7"], [record(b"\x01\x02")], [b""])
    Popularity(redis_client, keys, PARTITIONS, behind, VERSION, SETTINGS).refresh()
    behind.close()
    assert stored(redis_client, keys.popular())["items"] == ["7"]
    popularity.refresh()
    assert stored(redis_client, keys.popular())["items"] == ours["items"]
    for damaged in (b"no list", None):
        redis_client.delete(keys.popular("cheap"))
        if damaged is not None:
            redis_client.set(keys.popular("cheap"), damaged)
        popularity.refresh()
        assert stored(redis_client, keys.popular("cheap"))["items"] == ["0", "1", "2"]


def listed(catalogue: Catalogue, settings: RecommendSettings) -> Listed:
    return Listed({profile.name: profile.wanted.k for profile in all_profiles(settings)}, catalogue)


def written(client: redis.Redis, keys: Keys, catalogue: Catalogue, settings: RecommendSettings) -> FinishedLists:
    lists = FinishedLists(client, keys, VERSION, catalogue, all_profiles(settings))
    ranked = [Ranked([str(n)], [1.0], b"code") for n in range(len(all_profiles(settings)))]
    lists.write(recommendation_order(1, 5), {"anna": ranked, "bert": ranked}, {"bert"}, listed(catalogue, settings))
    return lists


def test_lists_of_all_profiles_are_written_together(
    redis_client: redis.Redis, keys: Keys, catalogue: Catalogue
) -> None:
    lists = written(redis_client, keys, catalogue, SETTINGS)
    noted = listed(catalogue, SETTINGS)
    names = {keys.recommendations("anna", name): name for name in ("default", "cheap", "mixed")}
    assert list(names) == [
        keys.recommendations("anna"),
        f"{keys.prefix}:recs@cheap:anna",
        f"{keys.prefix}:recs@mixed:anna",
    ]
    for number, (key, name) in enumerate(names.items()):
        document = stored(redis_client, key)
        assert (document["profile"], document["items"], document["user_id"]) == (name, [str(number)], "anna")
        assert not {"because", "biases"} & document.keys()
        assert redis_client.ttl(key) == -1
        assert 0 < redis_client.ttl(keys.recommendations("bert", name)) <= FORGOTTEN_S
    assert lists.stale(["anna", "bert"], noted) == ([], set())
    assert lists.stale(["anna", "nobody"], noted) == (["nobody"], set())
    redis_client.delete(keys.recommendations("anna", "mixed"))
    assert lists.stale(["anna", "bert"], noted) == (["anna"], set())


def test_reasons_are_stored(redis_client: redis.Redis, keys: Keys, catalogue: Catalogue) -> None:
    lists = FinishedLists(redis_client, keys, VERSION, catalogue, all_profiles(settings_with()))
    explained = Ranked(["1"], [0.5], b"code", [[("2", 0.75), ("3", -0.5)]], [0.25])
    lists.write(recommendation_order(1, 5), {"anna": [explained]}, set(), listed(catalogue, settings_with()))
    document = stored(redis_client, keys.recommendations("anna"))
    assert (document["because"], document["biases"]) == ([[["2", 0.75], ["3", -0.5]]], [0.25])
    # What another version of this program wrote without them can be read as well.
    assert msgspec.json.decode(redis_client.get(keys.recommendations("anna")), type=Recommendations).items == ["1"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("profiles", "stale"),
    [
        ({}, False),
        ({"cheap": {"k": 3, "filter": {"price": {"lt": 5}}}}, False),
        ({"cheap": {"k": 3, "filter": {"price": {"lt": 6}}}}, True),
        ({"cheap": {"k": 2, "filter": {"price": {"lt": 5}}}}, True),
        ({"default": {"k": 4}}, False),
        ({"default": {"k": 5}}, True),
        ({"default": {"explain": 1}}, True),
        ({"new": {}}, True),
    ],
)
def test_changed_profiles_make_lists_stale(
    redis_client: redis.Redis, keys: Keys, catalogue: Catalogue, profiles: dict[str, Any], stale: bool
) -> None:
    """Removed profiles do not, and neither does saying what is the default."""
    written(redis_client, keys, catalogue, SETTINGS)
    settings = settings_with(**profiles)
    changed = FinishedLists(redis_client, keys, VERSION, catalogue, all_profiles(settings))
    assert changed.stale(["anna"], listed(catalogue, settings))[0] == (["anna"] if stale else [])


def test_another_length_of_all_lists_makes_them_stale(
    redis_client: redis.Redis, keys: Keys, catalogue: Catalogue
) -> None:
    written(redis_client, keys, catalogue, settings_with())
    longer = settings_with().model_copy(update={"k": 5})
    lists = FinishedLists(redis_client, keys, VERSION, catalogue, all_profiles(longer))
    assert lists.stale(["anna"], listed(catalogue, longer))[0] == ["anna"]


def test_a_profile_is_what_the_settings_say() -> None:
    default, cheap, mixed = all_profiles(SETTINGS)
    assert (default.name, default.wanted) == ("default", Wanted(4))
    assert cheap.wanted == Wanted(3, parse_filter({"price": {"lt": 5}}))
    assert mixed.wanted == replace(Wanted(4), diversity=0.5, category="genre", per_category=1)
    assert len({default.rules, cheap.rules, mixed.rules}) == 3
    own = settings_with(default={"k": 9, "explain": 2})
    assert [profile.wanted for profile in all_profiles(own)] == [Wanted(9, explain=2)]
    assert ProfileSettings().k is None
