"""Everything over TLS: Kafka with SCRAM and no more rights than the README lists, Redis as the README's `worker`.

The tests of this file share two workers, which the last ones end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from kafka.admin import ACLOperation, ResourceType

from schemas.events import MAX_ID_LENGTH
from schemas.keys import Keys
from schemas.settings import Settings
from tests.e2e.conftest import wait_until
from tests.models import boards
from tests.processes import WorkerProcess, worker_process
from tests.security.broker import Broker
from tests.security.commands import command
from tests.security.conftest import PASSWORD, as_admin, changed, user_of
from tests.security.namespaces import named

ENDS_WITHIN_S = 30.0


class System(NamedTuple):
    """Both workers, and the settings under which they run."""

    settings: Settings
    encoder: WorkerProcess
    recommender: WorkerProcess


@pytest.fixture(scope="module")
def published(
    broker: Broker, redis_port: int, redis_admin: Any, saved_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """Settings of a user with a model, and topics with the events that it was trained on."""
    with user_of(broker, redis_port, redis_admin, tmp_path_factory.mktemp("home")) as settings:
        items = zip(boards.names(), boards.colours(boards.SIDE).tolist(), strict=True)
        publish(settings, "items", lines({"item_id": name, "features": features} for name, features in items))
        board = boards.board()
        touches = zip(board.users.tolist(), board.items.tolist(), strict=True)
        events = ({"user_id": str(user), "item_id": boards.names()[item]} for user, item in touches)
        publish(settings, "interactions", lines(events))
        redis_admin.hset(Keys(settings.redis.prefix).model, "version", saved_model.name)
        yield changed(settings, "model", registry=saved_model.parent).model_copy(update={"log_level": "DEBUG"})


@pytest.fixture(scope="module")
def system(published: Settings) -> Iterator[System]:
    with worker_process(published, "encoder") as encoder, worker_process(published, "recommender") as recommender:
        yield System(published, encoder, recommender)


def publish(settings: Settings, kind: str, lines: bytes) -> None:
    done = command(as_admin(settings), "publish", kind, "-", stdin=lines)
    assert done.status == 0, done.output


def processed(settings: Settings) -> bool:
    return command(settings, "status").out.count("all processed") == 2


def test_events_become_lists(system: System) -> None:
    wait_until(lambda: processed(system.settings), "all processed")
    done = command(system.settings, "recommend", "7", "--fresh", "--json")
    assert done.status == 0, done.output
    # The one item of the colour that this user has not had.
    assert json.loads(done.out)["items"][0]["item_id"] == "item-7"


def test_ids_chosen_by_an_enemy_reach_no_key_but_their_own(system: System, redis_admin: Any) -> None:
    prefix = system.settings.redis.prefix
    keys, hostile = Keys(prefix), hostile_ids(prefix)
    version = redis_admin.hget(keys.model, "version").decode()
    foreign = keys_in(redis_admin, without=prefix)
    publish(system.settings, "items", lines({"item_id": name, "features": [0.1] * 6} for name in hostile))
    touches = zip(hostile, reversed(hostile), strict=True)
    publish(system.settings, "interactions", lines({"user_id": user, "item_id": item} for user, item in touches))
    # A query with such an id is dropped; the one after it is answered.
    for number, name in enumerate(hostile):
        for request in (name, f"q{number}"):
            query = {"type": "user", "id": request, "user_id": name}
            redis_admin.xadd(keys.queries, {"request": json.dumps(query)})
        assert redis_admin.blpop([keys.reply(f"q{number}")], timeout=4) is not None
    wait_until(lambda: processed(system.settings), "all processed")

    assert keys_in(redis_admin, without=prefix) == foreign
    found = [named(prefix, key.decode()) for key in redis_admin.scan_iter(match=f"{prefix}:*")]
    people = {str(number) for number in range(boards.SIDE)}
    assert {one.names[0] for one in found if one.namespace == "recs"} == people | set(hostile)
    # Some are fit for the id of a query as well, and nobody has read the replies to those.
    fit = {name for name in hostile if re.search(r"^[A-Za-z0-9_.-]{1,64}$", name)}
    assert {one.names[0] for one in found if one.namespace == "reply"} == fit
    others = {one.namespace for one in found} - {"recs", "reply"}
    assert others <= {"popular", "trending", "queries", "model", "in use", "epoch", "topics"} | {
        *(f"items {part}" for part in ("position", "log", "codes", "attributes")),
        *(f"users {part}" for part in ("position", "popularity", "trending", "histories", "codes")),
    }
    for name in hostile:
        assert json.loads(redis_admin.get(keys.recommendations(name)))["user_id"] == name
    assert redis_admin.hget(keys.model, "version").decode() == version
    assert re.search(r"dead letters +none", command(system.settings, "status").out)


def test_logs_and_metrics_of_workers_have_no_secret(system: System) -> None:
    for worker in (system.encoder, system.recommender):
        told = worker.log() + worker.get("/metrics")[1]
        assert '"ready"' in told
        assert "latentstream_events_total" in told
        for secret in (PASSWORD, quote(PASSWORD, safe=""), json.dumps(PASSWORD)[1:-1]):
            assert secret not in told


def hostile_ids(prefix: str) -> list[str]:
    """Return ids made to be taken for something else, or to end what they stand in."""
    own = [f"{prefix}:{rest}" for rest in ("model", "epoch", "queries", "recs:42", "{i0}:codes:0")]
    return [
        *(
            "model",
            "recs:42",
            "recs@home:42",
            ":42",
            "@home:42",
            "{i0}",
            "{u1}:position",
            "}{",
            "{}",
            "*",
            "?",
            "[a-z]",
        ),
        *(
            '"',
            "'",
            "\\",
            "\n",
            "a\r\nDEL x\r\n",
            "\0",
            "a\0b",
            " ",
            "../../etc",
            "$(id)",
            "%s{0}",
            "\u202e42",
            "-1",
            "42\n",
            "+inf",
        ),
        *("\U0001f600" * MAX_ID_LENGTH, "e\u0301" * (MAX_ID_LENGTH // 2), "\x7f" * MAX_ID_LENGTH),
        *own,
    ]


def lines(events: Iterable[dict[str, Any]]) -> bytes:
    return b"\n".join(json.dumps(event).encode() for event in events)


def keys_in(client: Any, *, without: str) -> set[bytes]:
    return {key for key in client.scan_iter() if not key.startswith(f"{without}:".encode())}


def test_a_right_that_redis_takes_back_ends_the_worker_with_one_line(system: System, redis_admin: Any) -> None:
    name = system.settings.kafka.sasl_username
    redis_admin.execute_command("ACL", "SETUSER", name, "-hset")
    publish(system.settings, "items", b'{"item_id": "item-1", "features": [0, 0, 0, 0, 0, 0]}')
    assert system.encoder.wait(ENDS_WITHIN_S) == 1
    assert "hset" in last_line(system.encoder)
    redis_admin.execute_command("ACL", "SETUSER", name, "+hset")


def test_a_right_that_kafka_takes_back_ends_the_worker_with_one_line(system: System, broker: Broker) -> None:
    name = str(system.settings.kafka.sasl_username)
    broker.forbid(name, ResourceType.TOPIC, f"{name}-interactions", ACLOperation.READ)
    assert system.recommender.wait(ENDS_WITHIN_S) == 1
    assert f"the topic {name}-interactions" in last_line(system.recommender)
    broker.allow(name, ResourceType.TOPIC, f"{name}-interactions", ACLOperation.READ)


def test_a_worker_whose_group_is_denied_ends_with_one_line(published: Settings, broker: Broker) -> None:
    name = str(published.kafka.sasl_username)
    broker.forbid(name, ResourceType.GROUP, f"{name}-", ACLOperation.READ)
    worker = WorkerProcess(published, "encoder")
    assert worker.wait(ENDS_WITHIN_S) == 1
    assert f"the group {name}-encoder" in last_line(worker)


def last_line(worker: WorkerProcess) -> str:
    """Return the last line of a worker's log, which tells a person why it ended; there must be no trace."""
    log = worker.log()
    assert "Traceback" not in log
    line = log.splitlines()[-1]
    assert line.startswith("latentstream: ")
    return line
