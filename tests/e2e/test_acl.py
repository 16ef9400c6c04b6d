"""The README's Redis users: a reader that can read lists and ask, and a worker that can do what workers do."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis
from pydantic import SecretStr
from redis.exceptions import NoPermissionError

from schemas.keys import Keys
from schemas.settings import Settings
from tests.e2e.conftest import Progress, publish, wait_until
from tests.e2e.world import World
from tests.processes import worker_process

README = (Path(__file__).parents[2] / "README.md").read_text().replace("\\\n", " ")
USERS = {
    words[3]: words[4:]
    for line in re.findall(r"^redis-cli ACL SETUSER .*$", README, re.MULTILINE)
    if (words := shlex.split(line))
}
PASSWORD = "correct-horse"


@pytest.fixture
def users(settings: Settings, redis_client: redis.Redis) -> Iterator[dict[str, str]]:
    """Make the README's users, for the prefix of this test; give the address as which each connects."""
    admin: Any = redis_client
    parts = urlsplit(settings.redis.url.get_secret_value())
    found: dict[str, str] = {}
    for role, rules in USERS.items():
        name = f"{role}-{settings.redis.prefix}"
        ours = [rule.replace("ls:", f"{settings.redis.prefix}:").replace(">PASSWORD", f">{PASSWORD}") for rule in rules]
        admin.execute_command("ACL", "SETUSER", name, *ours)
        found[role] = urlunsplit(parts._replace(netloc=f"{name}:{PASSWORD}@{parts.hostname}:{parts.port}"))
    yield found
    for role in found:
        admin.execute_command("ACL", "DELUSER", f"{role}-{settings.redis.prefix}")


def as_user(settings: Settings, address: str) -> Settings:
    return settings.model_copy(update={"redis": settings.redis.model_copy(update={"url": SecretStr(address)})})


def test_workers_do_all_their_work_as_the_worker_and_a_reader_only_reads_and_asks(
    served: Settings, redis_client: redis.Redis, progress: Progress, world: World, users: dict[str, str]
) -> None:
    keys, admin = Keys(served.redis.prefix), cast(Any, redis_client)
    limited = as_user(served, users["worker"])
    reader: Any = redis.Redis.from_url(users["reader"], protocol=2)
    with worker_process(limited, "encoder"), worker_process(limited, "recommender"):
        publish(served, world.items)
        publish(served, world.interactions)
        progress.wait()
        gone = world.items[0].item_id
        publish(served, [type(world.items[0])(item_id=gone, features=world.items[0].features, available=False)])
        wait_until(lambda: redis_client.zscore(keys.withdrawn, gone) is not None, "readers told")
        wait_until(lambda: reader.get(keys.trending()), "what trends")
        listed = json.loads(reader.mget([keys.recommendations("42"), keys.popular()])[0])
        assert listed["user_id"] == "42"
        assert reader.zmscore(keys.withdrawn, [gone, "no such item"])[1] is None
        reader.xadd(keys.queries, {"request": json.dumps({"type": "user", "id": "q1", "user_id": "42", "k": 3})})
        _, reply = reader.blpop([keys.reply("q1")], timeout=10)
        assert len(json.loads(reply)["items"]) == 3
    # Redis keeps what it refused.
    denied = [dict(zip(entry[::2], entry[1::2], strict=True)) for entry in admin.execute_command("ACL", "LOG")]
    assert [
        entry[b"object"] for entry in denied if entry[b"username"].decode() == f"worker-{served.redis.prefix}"
    ] == []

    refused: list[tuple[Any, ...]] = [
        ("SET", keys.recommendations("42"), "x"),
        ("DEL", keys.recommendations("42")),
        ("HGETALL", keys.users(0).position),
        ("HGET", keys.users(0).histories(0), "42"),
        ("GET", f"{served.redis.prefix}:epoch"),
        ("ZADD", keys.withdrawn, 1, "1"),
        ("XRANGE", keys.queries, "-", "+"),
        ("XDEL", keys.queries, "1-1"),
        ("HSET", keys.model, "version", "mine"),
        ("GET", "another:recs:42"),
        ("RPUSH", keys.reply("q1"), "x"),
        ("EVAL", "return 1", 0),
        ("SCAN", 0),
        ("KEYS", "*"),
        ("CONFIG", "GET", "*"),
        ("ACL", "LIST"),
        ("FLUSHALL",),
    ]
    for command in refused:
        with pytest.raises(NoPermissionError):
            reader.execute_command(*command)
    worker_client: Any = redis.Redis.from_url(users["worker"], protocol=2)
    for command in (("GET", "another:recs:42"), ("FLUSHALL",), ("KEYS", "*"), ("CONFIG", "GET", "*"), ("ACL", "LIST")):
        with pytest.raises(NoPermissionError):
            worker_client.execute_command(*command)
    reader.close()
    worker_client.close()


def test_the_readme_has_both_users() -> None:
    assert sorted(USERS) == ["reader", "worker"]
