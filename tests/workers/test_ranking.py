"""The shape of lists, against going through the whole catalogue by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from models.diversity import pool_size
from models.space import ContentSpace
from schemas.documents import ItemsQuery, SimilarQuery, UserQuery
from schemas.events import Attribute
from schemas.filters import matches, parse_filter
from tests.workers.flat import VERSION, record
from workers.catalogue import Catalogue
from workers.profiles import Profile
from workers.query_rules import BadQuery, wanted_by
from workers.ranking import Ranker
from workers.wanted import Ranked, Wanted

ITEMS = 1_500
HISTORY = [("item-3", 1.0), ("item-700", 2.0), ("item-9", 0.5), ("nobody", 1.0)]


class World:
    """Items in three dimensions; a genre that goes with the place, so that the best are much alike; some have none."""

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        self.ids = [f"item-{n}" for n in range(ITEMS)]
        self.codes = rng.integers(0, 256, (ITEMS, 3), dtype=np.uint8)
        genre = (self.codes[:, 0] // 32 + self.codes[:, 1] // 64).tolist()
        self.attributes: dict[str, dict[str, Attribute]] = {}
        for n, name in enumerate(self.ids):
            own: Attribute = (
                [f"g{genre[n]}", f"g{genre[n] // 2}"] if n % 3 else genre[n] % 2 == 0 if n % 2 else genre[n]
            )
            self.attributes[name] = {"price": n % 100} | ({"genre": own} if n % 7 else {})
        content = SimpleNamespace(code_bytes=3, latent_dim=3, latents=lambda codes: codes.astype(np.float32))
        self.space = ContentSpace(np.full(3, 127.5, np.float32))
        codec = SimpleNamespace(encode=lambda users: np.ones((len(users), 1), np.uint8))
        bundle: Any = SimpleNamespace(version=VERSION, content=content, space=self.space, user_codec=codec)
        self.catalogue = Catalogue(bundle)
        documents = [msgspec.json.encode(self.attributes[name]) for name in self.ids]
        self.catalogue.apply(0, self.ids, [record(code.tobytes()) for code in self.codes], documents)
        self.ranker = Ranker(bundle, self.catalogue)
        raw = self.codes.astype(np.float64) - 127.5
        self.vectors = raw / np.linalg.norm(raw, axis=1, keepdims=True)

    def scores(self, history: list[tuple[str, float]]) -> dict[str, float]:
        bag = sum(weight * self.vectors[self.ids.index(name)] for name, weight in history if name in self.ids)
        found = self.vectors @ (bag / np.linalg.norm(bag))
        return dict(zip(self.ids, found.tolist(), strict=True))

    def ranking(self, history: list[tuple[str, float]], wanted: Wanted) -> list[str]:
        """Return all items that may be in a list, the best first."""
        scores = self.scores(history)
        left = [name for name in self.ids if name not in dict(history) and name not in wanted.exclude]
        if wanted.filter is not None:
            left = [name for name in left if matches(wanted.filter, self.attributes[name])]
        return sorted(left, key=lambda name: -scores[name])

    def categories(self, name: str) -> list[tuple[str, Any]]:
        value = self.attributes[name].get("genre")
        values = value if isinstance(value, list) else [] if value is None else [value]
        return [(type(one).__name__, one) for one in values]

    def capped(self, ranking: list[str], wanted: Wanted) -> list[str]:
        """Go through a ranking, and take what the cap admits."""
        counts: Counter[tuple[str, Any]] = Counter()
        taken: list[str] = []
        for name in ranking:
            if len(taken) < wanted.k and all(counts[one] < (wanted.per_category or 0) for one in self.categories(name)):
                taken.append(name)
                counts.update(set(self.categories(name)))
        return taken


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    yield made
    made.catalogue.close()


def listed(world: World, wanted: Wanted) -> Ranked:
    return world.ranker.for_histories([HISTORY], [wanted])[0]


@pytest.mark.parametrize("per_category", [1, 2, 30])
@pytest.mark.parametrize("k", [5, 60, 1000])
@pytest.mark.parametrize("document", [None, {"price": {"lt": 40}}])
def test_a_capped_list_is_that_of_going_through_everything(
    world: World, k: int, per_category: int, document: Any
) -> None:
    condition = None if document is None else parse_filter(document)
    wanted = Wanted(k, condition, frozenset({"item-5"}), category="genre", per_category=per_category)
    found = listed(world, wanted)
    expected = world.capped(world.ranking(HISTORY, wanted), wanted)
    scores = world.scores(HISTORY)
    np.testing.assert_allclose(found.scores, [scores[name] for name in expected], atol=1e-5)
    assert len(set(found.items)) == len(expected)
    assert set(found.items) == set(expected)


def test_several_lists_of_a_user_are_what_they_are_alone(world: World) -> None:
    cheap = parse_filter({"price": {"lt": 40}})
    wanted = [
        Wanted(7),
        Wanted(3, cheap),
        Wanted(50, diversity=0.4),
        Wanted(20, cheap, category="genre", per_category=2, diversity=0.7),
        Wanted(11, exclude=frozenset({"item-8", "unknown"})),
        Wanted(9, explain=2),
    ]
    histories = [HISTORY, [("item-1", 1.0)], [("nobody", 1.0)]]
    together = world.ranker.several(histories, [wanted] * 3)
    for history, lists in zip(histories, together, strict=True):
        for one, found in zip(wanted, lists, strict=True):
            assert found == world.ranker.for_histories([history], [one])[0]
    assert [found.items for found in together[2]] == [[]] * 6
    assert together[0][0].items == world.ranking(HISTORY, wanted[0])[:7]


def test_diversity_spreads_the_list_and_keeps_the_best_first(world: World) -> None:
    def alike(items: list[str]) -> float:
        rows = world.vectors[[world.ids.index(name) for name in items]]
        return float((rows @ rows.T)[~np.eye(len(items), dtype=bool)].mean())

    lists = [listed(world, Wanted(10, diversity=diversity)) for diversity in (0.0, 0.5, 0.9)]
    assert alike(lists[0].items) > alike(lists[1].items) > alike(lists[2].items)
    assert len({found.items[0] for found in lists}) == 1
    pool = world.ranking(HISTORY, Wanted(1))[: pool_size(10)]
    assert set(lists[2].items) <= set(pool)


def test_a_cap_on_a_diverse_list_goes_on_beyond_the_candidates(world: World) -> None:
    wanted = Wanted(60, diversity=0.3, category="genre", per_category=1)
    found = listed(world, wanted)
    counts = Counter(one for name in found.items for one in set(world.categories(name)))
    assert max(counts.values()) == 1
    ranking = world.ranking(HISTORY, wanted)
    beyond = [name for name in found.items if ranking.index(name) >= pool_size(60)]
    assert beyond == sorted(beyond, key=ranking.index)
    assert beyond
    assert len(found.items) == 60


def test_similar_items_are_shaped_too(world: World) -> None:
    wanted = Wanted(30, category="genre", per_category=1)
    (found,) = world.ranker.similar(["item-3"], [wanted])
    expected = world.capped(world.ranking([("item-3", 1.0)], wanted), wanted)
    assert found.items == expected


def test_reasons_add_up_to_the_score(world: World) -> None:
    found = listed(world, Wanted(20, explain=10))
    assert found.because is not None
    assert found.biases == [0.0] * 20
    scores = world.scores(HISTORY)
    for name, score, reasons in zip(found.items, found.scores, found.because, strict=True):
        assert {item for item, _ in reasons} == {item for item, _ in HISTORY} - {"nobody"}
        assert [added for _, added in reasons] == sorted((added for _, added in reasons), reverse=True)
        assert sum(added for _, added in reasons) == pytest.approx(score, abs=1e-5)
        assert score == pytest.approx(scores[name], abs=1e-5)
    short = listed(world, Wanted(20, explain=1))
    assert short.because == [reasons[:1] for reasons in found.because]
    assert listed(world, Wanted(20)).because is None


def test_what_was_looked_at_twice_is_one_reason(world: World) -> None:
    history = [("item-3", 1.0), ("item-9", 1.0), ("item-3", 1.0)]
    (found,) = world.ranker.for_histories([history], [Wanted(5, explain=5)])
    assert found.because is not None
    for score, reasons in zip(found.scores, found.because, strict=True):
        assert len(reasons) == 2
        assert sum(added for _, added in reasons) == pytest.approx(score, abs=1e-5)


PROFILES = [
    Profile("default", Wanted(50), "a"),
    Profile("home", Wanted(20, parse_filter({"price": 1}), category="genre", per_category=3, explain=2), "b"),
]


def test_a_query_takes_from_its_profile_what_it_does_not_say() -> None:
    assert wanted_by(UserQuery("q", "u"), PROFILES) == Wanted(10)
    assert wanted_by(UserQuery("q", "u", profile="default"), PROFILES) == Wanted(50)
    assert wanted_by(ItemsQuery("q", ["a"], profile="home"), PROFILES) == PROFILES[1].wanted
    asked = UserQuery("q", "u", 5, 0, profile="home", filter={"price": 2}, per_category=1, diversity=0.5, exclude=["a"])
    assert wanted_by(asked, PROFILES, frozenset({"b"})) == Wanted(
        5, parse_filter({"price": 2}), frozenset({"a", "b"}), 0.5, "genre", 1, 0
    )
    assert wanted_by(SimilarQuery("q", "i", category="x", per_category=2), PROFILES) == Wanted(
        10, category="x", per_category=2
    )


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (UserQuery("q", "u", profile="shop"), "no profile 'shop', only default, home"),
        (UserQuery("q", "u", category="genre"), "go together"),
        (UserQuery("q", "u", per_category=1, profile="default"), "go together"),
        (UserQuery("q", "u", filter={"price": {"less": 1}}), "filter.price.less"),
    ],
)
def test_half_a_rule_is_refused(query: UserQuery, message: str) -> None:
    with pytest.raises(BadQuery, match=message):
        wanted_by(query, PROFILES)
