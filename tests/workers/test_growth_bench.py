"""``latentstream bench growth``: small systems, and which growth is too much."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import redis

from workers.bench import load
from workers.bench.footprint import PARTITIONS
from workers.bench.growth import DEARER, Cost, Point, broken, measure
from workers.bench.growth_plot import draw_growth
from workers.bench.private_redis import private_redis
from workers.catalogue import Catalogue

SMALL = Point(
    items=10_000,
    users=10_000,
    history=10,
    cpu_ms=Cost(0.2, 0.1, 0.3),
    wall_ms=Cost(0.4, 0.3, 0.5),
    load_s=0.1,
    redis_bytes_per_item=42.0,
    redis_bytes_per_user=400.0,
    memory_bytes_per_item=700.0,
    item_over_content=1.1,
    list_bytes=1200.0,
    list_over_content=1.4,
)


def grown(**changes: object) -> Point:
    return msgspec.structs.replace(SMALL, **changes)


def test_points_of_small_systems(tmp_path: Path) -> None:
    told: list[str] = []
    found = measure("content", [2_000], [1_000], [5, 50], told.append)
    assert len(told) == 4
    assert [(point.items, point.users, point.history) for point in found.items] == [(2_000, 10_000, 10)]
    for point in (*found.items, *found.users, *found.histories):
        assert 0 < point.cpu_ms.lowest <= point.cpu_ms.median <= point.cpu_ms.highest
        assert 0 < point.wall_ms.lowest <= point.wall_ms.median <= point.wall_ms.highest
    short, long = found.histories
    assert 5 < long.redis_bytes_per_user / short.redis_bytes_per_user < 10
    # A list of 50 ids tells at least as much as it takes without its field names.
    assert all(1 < point.list_over_content < 2 for point in found.items)
    draw_growth(found, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("space", ["content", "interactions"])
def test_everything_that_is_stored_is_loaded(space: load.Space) -> None:
    items = load.topical_items(3_000)
    catalogue = Catalogue(load.random_bundle(space))
    with private_redis() as client:
        told: list[int] = []
        load.fill(client, items, told.append)
        assert told[-1] == len(items)
        load.load(client, catalogue)
        assert all(catalogue.servable(items.ids))
        record = catalogue.code("2999")
        assert record is not None
        assert record.code == items.codes[2999].tobytes()
        assert _logged(client) == PARTITIONS
    catalogue.close()


def _logged(client: redis.Redis) -> int:
    """Return the number of entries of all change logs."""
    return sum(client.xlen(name) for name in client.scan_iter("*:log"))


def test_growth_that_is_allowed_is_not_reported() -> None:
    items = [SMALL, grown(items=1_000_000, cpu_ms=Cost(0.2 * DEARER, 0.3, 0.9), memory_bytes_per_item=600.0)]
    histories = [SMALL, grown(history=100, redis_bytes_per_user=4_000.0)]
    assert broken(items, [SMALL, SMALL], histories) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cpu_ms": Cost(0.5, 0.1, 0.9)}, "CPU of an interaction with the items grew 2.5 times, from 0.2 to 0.5"),
        ({"wall_ms": Cost(2.0, 1.0, 3.0)}, "time of an interaction with the items grew 5.0 times"),
        ({"memory_bytes_per_item": 800.0}, "memory of an item grew 1.1 times, from 700 to 800"),
        ({"redis_bytes_per_item": 84.0}, "Redis' bytes of an item grew 2.0 times"),
        ({"load_s": 20.0}, "1,000,000 codes took 20 s to load; they may take 15 s"),
        ({"list_over_content": 1.6}, "a list takes 1.60 times its information content; it may 1.5 times"),
    ],
)
def test_growth_with_the_items_is_reported(change: dict[str, object], told: str) -> None:
    sentences = broken([SMALL, SMALL, grown(items=1_000_000, **change)], [SMALL], [SMALL])
    assert sentences[0].startswith(told)
    assert len(sentences) == 1 + ("memory" in told)


def test_growth_with_users_and_histories_is_reported() -> None:
    users = [SMALL, grown(users=1_000_000, redis_bytes_per_user=800.0)]
    histories = [SMALL, grown(history=20, cpu_ms=Cost(0.6, 0.5, 0.7))]
    assert [sentence.partition(" grew")[0] for sentence in broken([SMALL, SMALL], users, histories)] == [
        "Redis' bytes of a user",
        "CPU of an interaction with the history",
    ]
