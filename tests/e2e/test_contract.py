"""The public contract: what the README prints, word for word, with plain Redis commands and no code of ours.

The commands are taken from the README's code blocks, so that they cannot differ.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgpack
import pytest
import redis

from schemas.settings import RecommendSettings, Settings
from tests.e2e.conftest import Progress, publish, wait_until
from tests.e2e.world import World
from tests.processes import worker_process
from workers import connections

README = (Path(__file__).parents[2] / "README.md").read_text()
# What makes users is for tests/e2e/test_acl.py.
COMMANDS = [
    shlex.split(line, comments=True)[1:] for line in re.findall(r"^redis-cli (?!ACL ).*$", README, re.MULTILINE)
]
REQUESTS = [json.loads(line) for line in re.findall(r'^\{"type": .*\}$', README, re.MULTILINE)]
(PROFILES,) = re.findall(r"RECOMMEND__PROFILES='([^']+)'", README)
KEYS = re.findall(r"^\| `(ls:[^`]+)` \|", README, re.MULTILINE)


@pytest.fixture
def plain(settings: Settings, trained: tuple[Path, str], world: World) -> Iterator[tuple[Any, str]]:
    """The default prefix, as in the README, in a database of its own; workers that have processed the world."""
    database = re.sub(r"/\d+$", "/9", settings.redis.url.get_secret_value())
    registry, version = trained
    readme = settings.model_copy(
        update={
            "redis": settings.redis.model_copy(update={"prefix": "ls", "url": type(settings.redis.url)(database)}),
            "model": settings.model.model_copy(update={"registry": registry}),
            "recommend": RecommendSettings.model_validate({"profiles": json.loads(PROFILES)}),
        }
    )
    client: Any = redis.Redis.from_url(database, protocol=2)
    client.flushdb()
    client.hset("ls:model", "version", version)
    connections.ensure_topics(readme)
    with worker_process(readme, "encoder"), worker_process(readme, "recommender"):
        progress = Progress(readme, client)
        publish(readme, world.items)
        wait_until(lambda: progress.done(readme.kafka.items_topic), "items encoded")
        publish(readme, world.interactions)
        progress.wait()
        # The last of all lists that everybody shares.
        wait_until(lambda: json.loads(client.get("ls:trending@cheap"))["items"], "what trends")
        progress.close()
        yield client, version
    client.flushdb()
    client.close()


def test_readme_commands_and_keys(plain: tuple[Any, str], world: World) -> None:
    client, version = plain
    replies = {" ".join(command[:2]): client.execute_command(*command) for command in COMMANDS}

    finished = json.loads(replies["GET ls:recs:42"])
    assert len(finished["items"]) == len(finished["scores"]) == 50
    assert finished["scores"] == sorted(finished["scores"], reverse=True)
    assert (finished["user_id"], finished["model"], finished["source"]) == ("42", version, "model")
    seen = {event.item_id for event in world.interactions if event.user_id == "42"}
    assert not seen & set(finished["items"])
    assert json.loads(replies["GET ls:popular"])["source"] == "popular"
    assert replies["ZMSCORE ls:withdrawn"] == [None] * 3

    key, reply = replies["BLPOP ls:reply:q1"]
    assert key == b"ls:reply:q1"
    answer = json.loads(reply)
    assert (answer["id"], answer["status"], answer["items"]) == ("q1", "ok", finished["items"][:10])

    _check_profiles(replies, world, seen)
    _check_filtered(json.loads(replies["BLPOP ls:reply:q6"][1]), world, seen)
    _check_requests(client)
    _check_keys(client, version, world)


def _check_filtered(answer: dict[str, Any], world: World, seen: set[str]) -> None:
    """The README's filter: dramas for less than 5, without one item."""
    assert answer["status"] == "ok", answer
    attributes = {event.item_id: event.attributes for event in world.items}
    assert len(answer["items"]) == 10
    for name in answer["items"]:
        genres, price = attributes[name]["genres"], attributes[name]["price"]
        assert isinstance(genres, list)
        assert isinstance(price, float)
        assert "Drama" in genres
        assert price < 5
    assert not {*seen, "172"} & set(answer["items"])


def _check_profiles(replies: dict[str, Any], world: World, seen: set[str]) -> None:
    """What the README's two profiles promise, in stored lists and in a query for somebody anonymous."""
    genres = {event.item_id: event.attributes["genres"] for event in world.items}
    price = {event.item_id: event.attributes["price"] for event in world.items}

    def is_cheap(document: dict[str, Any]) -> bool:
        counts = Counter(genre for name in document["items"] for genre in cast(list[str], genres[name]))
        return max(counts.values()) <= 3 and all(cast(float, price[name]) < 5 for name in document["items"])

    home = json.loads(replies["GET ls:recs@home:42"])
    assert (home["profile"], home["source"], len(home["items"])) == ("home", "model", 12)
    assert home["items"][0] == json.loads(replies["GET ls:recs:42"])["items"][0]
    assert not seen & set(home["items"])
    assert [len(reasons) for reasons in home["because"]] == [2] * 12
    assert {name for reasons in home["because"] for name, _ in reasons} <= seen
    assert len(json.loads(replies["GET ls:popular@home"])["items"]) == 12
    trending = json.loads(replies["GET ls:trending"])
    assert trending["source"] == "trending"
    assert trending["scores"][0] == 1.0
    assert trending["items"] != json.loads(replies["GET ls:popular"])["items"]
    assert is_cheap(json.loads(replies["GET ls:trending@cheap"]))
    answer = json.loads(replies["BLPOP ls:reply:q8"][1])
    assert answer["status"] == "ok", answer
    assert is_cheap(answer)
    # Five genres, with three films each, are less than the 50 that it might have.
    assert 10 <= len(answer["items"]) <= 15
    assert [sorted(name for name, _ in reasons) for reasons in answer["because"]] == [["172", "50"]] * len(
        answer["items"]
    )


def _check_requests(client: Any) -> None:
    assert [request["type"] for request in REQUESTS] == ["items", "vector", "similar", "reconstruct", "trending"]
    for request in REQUESTS:
        if request["type"] == "vector":
            request["features"] = [0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.2]  # The README's model takes two features.
        answer = _ask(client, request)
        assert answer["status"] == "ok", answer
        if request["type"] == "reconstruct":
            assert len(answer["features"]) == 7
            assert answer["reconstruction_error"] >= 0
        else:
            assert len(answer["items"]) == len(answer["scores"]) == request["k"]
    refused = _ask(client, {"type": "similar", "id": "q6", "item_id": "nobody"})
    bad = _ask(client, {"type": "user", "id": "q9", "user_id": "42", "filter": {"price": {"lt": "5"}}})
    assert (bad["status"], bad["error"]) == ("error", 'filter.price.lt: must be a number, not "5"')
    assert refused["status"] == "error"
    assert "'nobody' is not published" in refused["error"]
    assert "no profile 'none'" in _ask(client, {"type": "trending", "id": "q10", "profile": "none"})["error"]
    assert "not a query" in _ask(client, {"type": "similar", "id": "q7"})["error"]
    assert "2 features, the model takes 7" in _ask(client, {"type": "vector", "id": "q8", "features": [1, 2]})["error"]


def _ask(client: Any, request: dict[str, Any]) -> dict[str, Any]:
    client.execute_command("XADD", "ls:queries", "*", "request", json.dumps(request))
    reply = client.execute_command("BLPOP", f"ls:reply:{request['id']}", 5)
    assert reply is not None, request
    answer: dict[str, Any] = json.loads(reply[1])
    return answer


def _check_keys(client: Any, version: str, world: World) -> None:
    """Every key of the README's table is there, and nothing else."""
    names = sorted(name.decode() for name in client.scan_iter(count=1000))
    unexplained = [name for name in names if not any(re.fullmatch(_pattern(key), name) for key in KEYS)]
    assert not unexplained
    absent = [key for key in KEYS if not any(re.fullmatch(_pattern(key), name) for name in names)]
    # Nothing was withdrawn; replies are gone when they were read; nobody waits when all items are published; no trainer
    # runs, and nothing drifts; the experiment is ended; the model was promoted by hand; nothing is old enough to be
    # removed.
    trainer = ["ls:due", "ls:training", "ls:trainer"]
    own = ["ls:{iP}:V:removed", "ls:{uP}:experiment:NAME", "ls:{uP}:waiting"]
    assert absent == ["ls:withdrawn", "ls:reply:ID", "ls:promotions", *trainer, "ls:experiment", *own]

    item = world.items[0]
    codes = [
        value for name in names if ":codes:" in name and "{i" in name if (value := client.hget(name, item.item_id))
    ]
    (code,) = codes
    assert isinstance(code, bytes)
    header = int.from_bytes(code[:3], "little")
    level, score, available, tag = header & 4095, header >> 12 & 127, header >> 19 & 1, header >> 20
    assert 0 < 2 ** ((level - 2048) / 64) < 1
    assert available == 1
    assert 0 < score < 1 << 7
    assert tag == hashlib.blake2b(version.encode(), digest_size=1).digest()[0] & 15
    assert len(code) == 3 + 4
    attributes = [value for name in names if ":attributes:" in name if (value := client.hget(name, item.item_id))]
    assert json.loads(attributes[0]) == item.attributes
    logs = [name for name in names if name.endswith(":log")]
    entries = [entry for name in logs for entry in client.xrange(name)]
    packed = [msgpack.unpackb(fields[b"batch"]) for _, fields in entries]
    assert {name for _, ids, _, _ in packed for name in ids} == {event.item_id for event in world.items}
    assert code in [record for _, _, records, _ in packed for record in records]
    assert attributes[0] in [own for _, _, _, documents in packed for own in documents]
    assert client.hget("ls:model", "version") == version.encode()


def _pattern(key: str) -> str:
    """Return the regular expression of a key of the table, whose capitals stand for something."""
    escaped = re.escape(key).replace(r"\{iP\}", r"\{i\d+\}").replace(r"\{uP\}", r"\{u\d+\}")
    escaped = escaped.replace("@PROFILE", "@[^:]+")
    return re.sub(r":(USER|ID|NAME|V|B)(?=:|$)", lambda match: r":\d+" if match[1] == "B" else r":[^:]+", escaped)
