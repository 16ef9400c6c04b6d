"""``latentstream bench footprint`` on a small number of items."""

from __future__ import annotations

import json

import pytest
import redis
from typer.testing import CliRunner

from deploy.local.redis import answers
from workers.bench import footprint
from workers.bench.footprint import Items
from workers.bench.private_redis import private_redis
from workers.cli import app

ITEMS = 5_000


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "SETTLED_S", 0.5)


def test_our_layout_is_the_smallest_by_far() -> None:
    result = CliRunner().invoke(app, ["bench", "footprint", "--items", str(ITEMS), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    layout, log = found["layout"], found["layout"]["change_log"]
    assert (found["items"], found["code_bytes"], layout["record_bytes"]) == (ITEMS, 32, 35)
    assert layout["encodings"] == ["listpack"]
    # With so few items, the four idle logs of 4.8 KB and the tables of keys count for more than they will.
    assert layout["bytes_per_item"] - log["idle_bytes_per_item"] < 50
    assert layout["bytes_per_item_with_full_log"] == pytest.approx(
        layout["bytes_per_item"] + log["bytes_per_item"] - log["idle_bytes_per_item"], abs=1
    )
    assert layout["bytes_per_item"] < found["plain_keys"]["bytes_per_item"] / 1.5
    sets = [found["vector_set_q8"], found["vector_set_bin"]]
    if int(found["redis"].split(".")[0]) >= 8:
        assert all(one["bytes_per_item"] > 12 * layout["bytes_per_item"] for one in sets)
    else:
        assert all(one["bytes_per_item"] is None and "no vector sets" in one["missing"] for one in sets)


def test_table_names_every_way(monkeypatch: pytest.MonkeyPatch) -> None:
    real = redis.Redis.execute_command

    def without_vector_sets(client: redis.Redis, *arguments: object, **options: object) -> object:
        if arguments[0] == "VCARD":
            raise redis.ResponseError("unknown command 'VCARD'")
        return real(client, *arguments, **options)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(redis.Redis, "execute_command", without_vector_sets)
    result = CliRunner().invoke(app, ["bench", "footprint", "--items", "1000", "--ids", "text"])
    assert result.exit_code == 0, result.output
    for shown in ("our layout", "plain keys", "vector set, Q8", "vector set, BIN", "no vector sets", "change log"):
        assert shown in result.stdout


def test_same_items_at_every_call() -> None:
    one, other = (Items(50, "text", 8, 4) for _ in range(2))
    assert one.ids == other.ids
    assert list(one.vectors()) == list(other.vectors())
    assert {len(name) for name in one.ids} == {11}
    assert len(next(one.vectors())) == 4 * 4


def test_private_server_is_gone_afterwards() -> None:
    with private_redis() as client:
        port = client.connection_pool.connection_kwargs["port"]
        assert answers(port)
    assert not answers(port)
