"""Items that readers of lists leave out until no list has them."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
import redis

from schemas.documents import Recommendations, recommendation_order
from schemas.keys import Keys
from schemas.settings import Settings
from workers.withdrawn import NOTED_S, Withdrawn, shortened, without_withdrawn


class Available:
    """Stands for a catalogue in which these are servable."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)

    def servable(self, ids: list[str]) -> list[bool]:
        return [name in self.names for name in ids]


def withdrawn_of(client: Any, keys: Keys, *catalogues: Available) -> Withdrawn:
    stand_ins: Any = catalogues or [Available()]
    return Withdrawn(client, keys, stand_ins)


@pytest.fixture
def keys(settings: Settings) -> Keys:
    return Keys(settings.redis.prefix)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [time.time()]
    monkeypatch.setattr("workers.withdrawn.time.time", lambda: now[0])
    return now


def made(*items: str) -> Recommendations:
    return Recommendations(
        order=recommendation_order(1, 1),
        user_id="anna",
        model="v1",
        source="model",
        generated_at=1.0,
        items=list(items),
        scores=[float(n) for n in range(len(items))],
        profile="default",
        rules="",
        because=[[("h", 1.0)] for _ in items],
    )


def noted(client: redis.Redis, keys: Keys) -> set[bytes]:
    return set(client.zrange(keys.withdrawn, 0, -1))  # type: ignore[arg-type]  # not awaited


def test_a_reader_leaves_out_what_is_noted_with_all_that_belongs_to_it(redis_client: redis.Redis, keys: Keys) -> None:
    assert without_withdrawn(made("a", "b", "c"), redis_client, keys) == made("a", "b", "c")
    withdrawn_of(redis_client, keys, Available("c")).note(["b", "c", "z"])
    seen = without_withdrawn(made("a", "b", "c"), redis_client, keys)
    assert (seen.items, seen.scores, seen.because) == (["a", "c"], [0.0, 2.0], [[("h", 1.0)]] * 2)
    assert without_withdrawn(made(), redis_client, keys) == made()
    assert 0 < int(redis_client.ttl(keys.withdrawn)) <= NOTED_S


def test_shortening_needs_a_word_on_each_place() -> None:
    with pytest.raises(ValueError, match="shorter"):
        shortened(made("a", "b"), [True])
    assert msgspec.json.encode(shortened(made("a"), [True])) == msgspec.json.encode(made("a"))


def test_nothing_is_written_where_nothing_went(redis_client: redis.Redis, keys: Keys) -> None:
    withdrawn = withdrawn_of(redis_client, keys, Available("a"))
    withdrawn.note([])
    withdrawn.note(["a"])
    withdrawn.follow(busy=True)
    assert not redis_client.exists(keys.withdrawn)


def test_what_is_available_again_is_taken_back(redis_client: redis.Redis, keys: Keys, clock: list[float]) -> None:
    catalogue = Available()
    withdrawn = withdrawn_of(redis_client, keys, catalogue)
    withdrawn.note(["a", "b"])
    catalogue.names.add("b")
    withdrawn.follow(busy=False)
    assert noted(redis_client, keys) == {b"a"}
    catalogue.names.add("a")
    clock[0] += 2
    withdrawn.follow(busy=True)
    assert not redis_client.exists(keys.withdrawn)


def test_it_stays_noted_while_lists_are_cleaned_and_lapses_after_that(
    redis_client: redis.Redis, keys: Keys, clock: list[float]
) -> None:
    withdrawn = withdrawn_of(redis_client, keys)
    withdrawn.note(["a"])
    for _ in range(5):
        clock[0] += NOTED_S / 2
        withdrawn.follow(busy=True)
    assert redis_client.zscore(keys.withdrawn, "a") == pytest.approx(clock[0] + NOTED_S)
    clock[0] += 10
    withdrawn_of(redis_client, keys).note(["b"])  # By another recommender.
    clock[0] += NOTED_S - 5
    withdrawn.follow(busy=False)
    assert noted(redis_client, keys) == {b"b"}
    clock[0] += 2
    withdrawn.follow(busy=True)
    assert noted(redis_client, keys) == {b"b"}, "it was let go, and must not be written again"


@pytest.mark.parametrize("busy", [True, False])
def test_what_somebody_behind_took_back_is_noted_again(
    redis_client: redis.Redis, keys: Keys, clock: list[float], *, busy: bool
) -> None:
    """Who stood still when it went finds it noted, believes it available, and may be gone before it knows better."""
    withdrawn = withdrawn_of(redis_client, keys)
    withdrawn.note(["a", "b"])
    behind = withdrawn_of(redis_client, keys, Available("a"))
    behind.adopt()
    behind.follow(busy=False)
    assert noted(redis_client, keys) == {b"b"}
    clock[0] += 2
    withdrawn.follow(busy=busy)
    assert noted(redis_client, keys) == {b"a", b"b"}
    assert 0 < int(redis_client.ttl(keys.withdrawn)) <= NOTED_S


def test_it_stays_noted_while_the_other_model_still_serves_it(
    redis_client: redis.Redis, keys: Keys, clock: list[float]
) -> None:
    behind = Available("a")
    withdrawn = withdrawn_of(redis_client, keys, Available(), behind)
    withdrawn.note(["a"])
    clock[0] += NOTED_S + 1
    withdrawn.follow(busy=False)
    assert redis_client.zscore(keys.withdrawn, "a") == pytest.approx(clock[0] + NOTED_S)
    behind.names.clear()
    clock[0] += NOTED_S + 1
    withdrawn.follow(busy=False)
    assert not redis_client.exists(keys.withdrawn)


def test_the_next_owner_of_a_partition_keeps_what_the_last_one_noted(
    redis_client: redis.Redis, keys: Keys, clock: list[float]
) -> None:
    withdrawn_of(redis_client, keys).note(["a"])
    successor = withdrawn_of(redis_client, keys)
    successor.adopt()
    clock[0] += NOTED_S / 2
    successor.follow(busy=True)
    assert redis_client.zscore(keys.withdrawn, "a") == pytest.approx(clock[0] + NOTED_S)


class Unwilling:
    """A client that refuses the first pipelines."""

    def __init__(self, client: redis.Redis, refusals: int) -> None:
        self._client = client
        self._refusals = refusals

    def pipeline(self, *, transaction: bool) -> Any:
        if self._refusals:
            self._refusals -= 1
            raise redis.ConnectionError
        return self._client.pipeline(transaction=transaction)


def test_what_could_not_be_written_is_written_at_the_next_look(
    redis_client: redis.Redis, keys: Keys, clock: list[float]
) -> None:
    withdrawn = withdrawn_of(Unwilling(redis_client, 1), keys)
    with pytest.raises(redis.ConnectionError):
        withdrawn.note(["a"])
    clock[0] += 1
    withdrawn.follow(busy=True)
    assert noted(redis_client, keys) == {b"a"}


def test_many_are_noted_and_taken_back_in_parts(
    redis_client: redis.Redis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.withdrawn._IDS_AT_A_TIME", 3)
    names, catalogue = [str(n) for n in range(8)], Available()
    withdrawn = withdrawn_of(redis_client, keys, catalogue)
    withdrawn.note(names)
    assert len(noted(redis_client, keys)) == 8
    catalogue.names.update(names)
    withdrawn.follow(busy=True)
    assert not redis_client.exists(keys.withdrawn)
