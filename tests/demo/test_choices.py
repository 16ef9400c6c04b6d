"""Who and what the demo shows, and how it counts memory."""

import pytest
import redis

from schemas.events import InteractionEvent
from schemas.keys import Keys
from schemas.settings import Settings
from workers.bench import synthetic
from workers.datasets import movielens
from workers.datasets.movielens import Film
from workers.demo import memory, new_film, people


def _watched(user: str, items: list[str]) -> list[InteractionEvent]:
    return [InteractionEvent(user, item) for item in items]


def test_people_are_chosen_by_taste_among_those_with_middling_histories() -> None:
    genres = {"s": "Sci-Fi", "r": "Romance", "c": "Children's", "w": "War"}
    films = {
        f"{letter}{n}": Film(f"{letter}{n}", "", 1990, (genre,)) for letter, genre in genres.items() for n in range(300)
    }
    histories = {
        "too few": [f"s{n}" for n in range(people.FEWEST - 1)],
        "too many": [f"s{n}" for n in range(people.MOST + 1)],
        **{letter: [f"{letter}{n}" for n in range(20)] + [f"w{n}" for n in range(20)] for letter in "src"},
        "warlike": [f"w{n}" for n in range(40)],
    }
    train = [event for user, items in histories.items() for event in _watched(user, items)]
    assert people.choose(films, train) == ["s", "r", "c"]


def test_fans_have_seen_most_of_all_the_genres_at_once() -> None:
    films = {"both": Film("both", "", 1990, ("Crime", "War")), "one": Film("one", "", 1990, ("Crime",))}
    train = _watched("half", ["both", "one"]) + _watched("all", ["both"]) + _watched("none", ["one"])
    assert new_film.fans(films, train, ("Crime", "War")) == ["all", "half"]


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("recs:anna", "user lists"),
        ("recs:{i0}:v:codes:1", "user lists"),
        ("{i3}:20261123T221941-96afae1d:codes:17", "item codes"),
        ("{i3}:20261123T221941-96afae1d:attributes:17", "item attributes"),
        ("{i3}:20261123T221941-96afae1d:log", "change log"),
        ("{u12}:histories:0", "user histories"),
        ("{u12}:20261123T221941-96afae1d:codes:0", "user codes"),
        ("{u12}:position", "other"),
        ("model", "other"),
    ],
)
def test_keys_are_counted_under_their_kind(key: str, kind: str) -> None:
    assert memory.kind_of(key) == kind


def test_memory_counts_the_keys_of_one_prefix(settings: Settings, redis_client: redis.Redis) -> None:
    keys = Keys(settings.redis.prefix)
    items = keys.items("model", 0)
    names = [
        items.codes(0),
        items.attributes(0),
        items.log,
        keys.users(0).histories(0),
        keys.users(0).codes("model", 0),
    ]
    for name in names:
        redis_client.set(name, b"x" * 100)
    redis_client.set(keys.recommendations("anna"), b"x" * 1000)
    redis_client.set(f"{settings.redis.prefix}2:recs:anna", b"x" * 1000)
    used = memory.usage(redis_client, keys)
    assert used["user lists"] == redis_client.memory_usage(keys.recommendations("anna"))
    assert used["item codes"] == redis_client.memory_usage(items.codes(0))
    assert set(used) == {"item codes", "item attributes", "change log", "user histories", "user codes", "user lists"}


def test_synthetic_data_have_the_size_of_the_real_ones() -> None:
    data = synthetic.make()
    assert (len(data.films), len(data.people)) == (1682, 943)
    assert 99_000 < len(data.interactions) <= 100_000
    times = [event.timestamp for event in data.interactions]
    assert times == sorted(times, key=lambda time: time or 0.0)
    assert data == synthetic.make()
    parts = movielens.split(data.interactions)
    assert {event.user_id for event in parts.test} == set(data.people)
