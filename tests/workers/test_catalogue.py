"""The catalogue, and the follower that keeps it equal to Redis."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import msgspec
import numpy as np
import pytest
import redis
from numpy.typing import NDArray

from models.attributes import AttributeColumns
from schemas.filters import Filter, parse_filter
from schemas.keys import ItemKeys, Keys
from schemas.records import CodeRecord, version_tag
from schemas.settings import Settings
from tests.e2e.conftest import wait_until
from tests.workers.flat import VERSION, flat_catalogue, record
from workers.attributes import MASKS_KEPT, ItemAttributes
from workers.catalogue import Catalogue
from workers.delivery import Position, PositionStore
from workers.follower import Follower
from workers.items import item_batch, shortened_log


@pytest.fixture
def keys(settings: Settings) -> ItemKeys:
    return Keys(settings.redis.prefix).items(VERSION, 0)


@pytest.fixture
def store(redis_client: redis.Redis, settings: Settings) -> PositionStore:
    return PositionStore(redis_client, Keys(settings.redis.prefix))


def write(
    client: redis.Redis,
    store: PositionStore,
    keys: ItemKeys,
    position: Position,
    items: dict[str, dict[str, Any] | None],
) -> None:
    """Store items with these attributes, as an encoder does."""
    following = position.next + len(items)
    records: dict[str, bytes | None] = dict.fromkeys(items, record(b"\x01\x02"))
    attributes = {name: msgspec.json.encode(own) if own else None for name, own in items.items()}
    changes = [(name, True) for name in items]
    writes = item_batch(client, keys, position, following, changes, records, attributes, 10_000)
    store.commit(writes.batch, position, following)
    writes.applied(position)


def test_catalogue_takes_no_code_of_another_version() -> None:
    catalogue = flat_catalogue()
    anomaly = record(b"\x01\x02", anomalous=True, score=2.0)
    records = [record(b"\x01\x02"), record(b"\x01\x02", 1 ^ version_tag(VERSION)), anomaly]
    catalogue.apply(0, ["ours", "theirs", "odd"], records, [b""] * 3)
    assert catalogue.known(["ours", "theirs", "odd"]) == [True, False, True]
    odd = catalogue.code("odd")
    assert odd == CodeRecord.unpack(anomaly)
    catalogue.apply(0, ["ours"], [b""], [b""])
    assert catalogue.code("ours") is None
    # A search that began before the deletion may still ask for it.
    assert not catalogue.unit_vectors(["ours"]).any()
    catalogue.close()


def test_of_ids_that_come_twice_the_last_counts() -> None:
    catalogue = flat_catalogue()
    here, other, damaged = record(b"\x01\x02"), record(b"\x05\x06"), b"\x00"
    ids = ["a", "b", "a", "gone", "gone", "back", "back", "broken"]
    records = [here, here, other, here, b"", b"", here, damaged]
    catalogue.apply(0, ids, records, [b'{"n": %d}' % n for n in range(len(ids))])
    assert catalogue.known(["a", "b", "gone", "back", "broken"]) == [True, True, False, True, False]
    assert catalogue.code("a") == CodeRecord.unpack(other)
    assert catalogue.attributes(["a", "b", "gone", "back"]) == [{"n": 2}, {"n": 1}, {}, {"n": 6}]
    assert catalogue.take_arrivals() == {"a", "b", "back"}
    catalogue.close()


def test_two_catalogues_share_ids_and_nothing_else() -> None:
    ids = [f"item-{n}" for n in range(3000)]
    one = flat_catalogue()
    other = flat_catalogue(one.item_ids)
    one.apply(0, ids[:2], [record(b"\x01\x02")] * 2, [b'{"n": 1}'] * 2)
    other.apply(0, ids[1:], [record(b"\x03\x04")] * (len(ids) - 1), [b""] * (len(ids) - 1))
    assert len(one.item_ids) == len(ids)
    for catalogue, known, attributes in ((one, ids[:2], {"n": 1}), (other, ids[1:], {})):
        asked = [ids[0], ids[1], ids[-1]]
        assert catalogue.known(asked) == catalogue.servable(asked) == [name in known for name in asked]
        assert catalogue.attributes(asked) == [attributes if name in known else {} for name in asked]
        assert catalogue.code(ids[-1]) == (None if catalogue is one else CodeRecord.unpack(record(b"\x03\x04")))
        slots = catalogue.slots(asked)
        assert catalogue.ids(slots) == asked
        assert (catalogue.retrieval_vectors(slots).any(axis=1) == [name in known for name in asked]).all()
        scores, found = catalogue.retrieval.search(np.ones((1, 3), np.float32), 3, [np.array([slots[-1]])])
        wanted = {ids[0], ids[1]} if catalogue is one else set(ids[1:-1])
        assert set(catalogue.ids(found[0][scores[0] > -np.inf])) <= wanted
        assert np.isfinite(scores).sum() == min(len(wanted), 3)
        assert catalogue.coverage(np.ones(len(ids), bool)) == 1
    other.retain(0, set())
    assert one.known(ids[:3]) == [True, True, False]
    assert other.known(ids[:3]) == [False] * 3
    # What is closed takes no memory, even where something still holds it.
    one.close()
    assert one.known(ids[:2]) == [False, False]
    assert len(one.retrieval) == one.retrieval.row_count == 0
    other.close()


def test_equal_scores_are_ordered_by_the_items_and_not_by_who_came_first() -> None:
    ids = [f"item-{n}" for n in range(40)]
    found = []
    for order in (ids, ids[::-1]):
        catalogue = flat_catalogue()
        for start in range(0, len(order), 7):
            some = order[start : start + 7]
            catalogue.apply(0, some, [record(b"\x01\x02")] * len(some), [b""] * len(some))
        _, slots = catalogue.retrieval.search(np.ones((1, 3), np.float32), 40)
        found.append(catalogue.ids(slots[0]))
        catalogue.close()
    assert found[0] == found[1]
    assert sorted(found[0]) == sorted(ids)
    # Workers of different versions rank side by side during an update: these must stay what they are.
    assert found[0][:3] == ["item-28", "item-10", "item-27"]


def test_items_without_a_code_and_unavailable_ones_are_told_apart() -> None:
    catalogue = flat_catalogue()
    catalogue.apply(0, ["bare", "hidden"], [record(b""), record(b"\x01\x02", available=False)], [b"", b""])
    assert catalogue.known(["bare", "hidden"]) == [False, True]
    assert catalogue.servable(["bare", "hidden"]) == [False, False]
    catalogue.apply(0, ["hidden"], [record(b"\x01\x02")], [b""])
    assert catalogue.servable(["hidden", "nobody"]) == [True, False]
    catalogue.apply(1, ["hidden"], [record(b"")], [b""])
    assert catalogue.known(["hidden"]) == [False]
    assert catalogue.ids(catalogue.take_withdrawn()) == ["hidden"]
    catalogue.close()


@contextmanager
def following(client: redis.Redis, settings: Settings, catalogue: Catalogue) -> Iterator[Follower]:
    follower = Follower(client, Keys(settings.redis.prefix), VERSION, 1, catalogue)
    follower.start()
    try:
        assert follower.loaded.wait(10)
        yield follower
    finally:
        follower.close()


@contextmanager
def paused(follower: Follower) -> Iterator[None]:
    """Hold the follower where it is about to read, as a slow network would."""
    released, waiting = threading.Event(), threading.Event()
    follow = follower._follow

    def held() -> None:
        waiting.set()
        released.wait(10)
        follow()

    follower._follow = held  # type: ignore[method-assign]
    assert waiting.wait(10)
    yield
    follower._follow = follow  # type: ignore[method-assign]
    released.set()


def test_follower_loads_anew_what_a_shortened_log_no_longer_tells(
    settings: Settings, redis_client: redis.Redis, store: PositionStore, keys: ItemKeys
) -> None:
    position = store.claim(keys.position, 0)

    def put(name: str) -> None:
        write(redis_client, store, keys, position, {name: None})

    catalogue = flat_catalogue()
    put("a")
    url = settings.redis.url.get_secret_value()
    with redis.Redis.from_url(url, protocol=2) as reader, following(reader, settings, catalogue) as follower:
        put("b")
        wait_until(lambda: catalogue.known(["a", "b"]) == [True, True], "b followed")
        with paused(follower):
            put("c")
            store.commit(shortened_log(keys, 3, position), position, 3)
        wait_until(lambda: catalogue.known(["c"]) == [True], "c loaded, of which the log says nothing")
        put("d")
        wait_until(lambda: catalogue.known(["d"]) == [True], "d followed")
    catalogue.close()


def matching(catalogue: Catalogue, ids: list[str], document: object) -> list[str]:
    """Return which of ``ids`` match a filter."""
    mask = catalogue.mask(parse_filter(document))
    return [name for name, slot in zip(ids, catalogue.slots(ids), strict=True) if slot >= 0 and mask[slot]]


def test_follower_keeps_the_attributes_equal_to_redis(
    settings: Settings, redis_client: redis.Redis, store: PositionStore, keys: ItemKeys
) -> None:
    position = store.claim(keys.position, 0)
    # More than a bucket, so that ids were moved by splits.
    ids = [f"item-{n}" for n in range(400)]
    write(redis_client, store, keys, position, {name: {"even": n % 2 == 0} for n, name in enumerate(ids)})
    catalogue = flat_catalogue()
    url = settings.redis.url.get_secret_value()
    with redis.Redis.from_url(url, protocol=2) as reader, following(reader, settings, catalogue):
        assert matching(catalogue, ids, {"even": True}) == ids[::2]
        write(redis_client, store, keys, position, {"item-0": None, "item-1": {"even": True}, "new": {"even": True}})
        wait_until(lambda: catalogue.known(["new"]) == [True], "the change followed")
        assert matching(catalogue, [*ids, "new"], {"even": True}) == [
            *sorted([*ids[2::2], "item-1"], key=ids.index),
            "new",
        ]
        assert catalogue.attributes(["item-0", "item-1", "nobody"]) == [{}, {"even": True}, {}]
    catalogue.close()


def test_entries_of_an_older_layout_lead_to_loading_anew(
    settings: Settings, redis_client: redis.Redis, store: PositionStore, keys: ItemKeys
) -> None:
    position = store.claim(keys.position, 0)
    write(redis_client, store, keys, position, {"a": {"colour": "red"}})
    catalogue = flat_catalogue()
    url = settings.redis.url.get_secret_value()
    with redis.Redis.from_url(url, protocol=2) as reader, following(reader, settings, catalogue) as follower:
        with paused(follower):
            write(redis_client, store, keys, position, {"b": {"colour": "red"}})
            redis_client.delete(keys.log)
            old = msgspec.msgpack.encode([1, ["b"], [record(b"\x01\x02")]])
            redis_client.xadd(keys.log, {"batch": old}, id="2-0")
        wait_until(lambda: matching(catalogue, ["a", "b"], {"colour": "red"}) == ["a", "b"], "b loaded")
        write(redis_client, store, keys, position, {"c": {"colour": "red"}})
        wait_until(lambda: catalogue.known(["c"]) == [True], "c followed")
    catalogue.close()


def test_a_kept_mask_follows_what_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = flat_catalogue()
    evaluated = []
    mask = AttributeColumns.mask

    def counted(columns: AttributeColumns, condition: Filter, guard: threading.RLock) -> NDArray[np.bool_]:
        evaluated.append(condition)
        return mask(columns, condition, guard)

    monkeypatch.setattr(AttributeColumns, "mask", counted)

    def put(items: dict[str, dict[str, Any]]) -> None:
        documents = [msgspec.json.encode(own) for own in items.values()]
        catalogue.apply(0, list(items), [record(b"\x01\x02")] * len(items), documents)

    cheap, dear = {"price": {"lt": 10}}, {"not": {"price": {"lt": 10}}}
    put({"a": {"price": 5}, "b": {"price": 50}})
    before = catalogue.mask(parse_filter(cheap))
    copy = before.copy()
    assert matching(catalogue, ["a", "b"], cheap) == ["a"]
    assert matching(catalogue, ["a", "b"], dear) == ["b"]
    made = len(evaluated)
    put({"a": {"price": 11}, "b": {"price": 1}, "c": {}})
    put({f"item-{n}": {"price": n} for n in range(20)})
    catalogue.apply(0, ["item-3"], [b""], [b""])
    ids = ["a", "b", "c", *(f"item-{n}" for n in range(20))]
    assert matching(catalogue, ids, cheap) == ["b", *(f"item-{n}" for n in range(10) if n != 3)]
    assert set(ids) - {"item-3"} <= {*matching(catalogue, ids, cheap), *matching(catalogue, ids, dear)}
    assert len(evaluated) == made, "two masks were brought up to date, and none was made anew"
    assert np.array_equal(before, copy), "a search may still read the old mask"
    put({f"item-{n}": {"price": 1} for n in range(2000)})
    assert len(matching(catalogue, [f"item-{n}" for n in range(2000)], cheap)) == 2000
    assert len(evaluated) > made
    catalogue.close()


def test_masks_of_many_filters_are_not_all_kept() -> None:
    attributes = ItemAttributes(threading.RLock())
    attributes.replace(np.arange(3), [b'{"n": 1}', b"", b"{damaged"])
    for n in range(3 * MASKS_KEPT):
        assert attributes.mask(parse_filter({"n": n}))[:3].tolist() == [n == 1, False, False]
    assert len(attributes._kept) == MASKS_KEPT


class _Interrupted:
    """A lock, and what somebody else does as soon as it is free."""

    def __init__(self) -> None:
        self.then: list[Callable[[], None]] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        if self.then:
            self.then.pop(0)()


def test_what_changes_while_a_mask_is_made_counts_as_it_is_in_the_end() -> None:
    lock = _Interrupted()
    attributes = ItemAttributes(cast(threading.RLock, lock))
    attributes.replace(np.arange(3), [b'{"a": 1, "b": 0}', b'{"a": 1, "b": 1}', b'{"a": 0, "b": 0}'])
    # Each of the two conditions sees another half of the first item, and neither sees the last.
    change = partial(attributes.replace, np.array([0, 9]), [b'{"a": 0, "b": 1}', b'{"a": 1, "b": 1}'])
    for interrupted in range(4):
        lock.then = [lambda: None] * interrupted + [change]
        both = {"a": 1, "b": 1} if interrupted % 2 else {"b": 1, "a": 1}
        mask = attributes.mask(parse_filter({"and": [both, {"not": {"c": interrupted}}]}))
        assert not lock.then, "the change was made in the middle"
        assert np.flatnonzero(mask[:10]).tolist() == [1, 9]
        attributes.replace(np.array([0, 9]), [b'{"a": 1, "b": 0}', b""])
