"""``recommend``, ``similar`` and ``inspect``, with records in a real Redis and an answering thread for queries."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
import redis

from schemas.documents import Recommendations, recommendation_order
from schemas.keys import Keys
from schemas.records import CodeRecord, version_tag
from schemas.settings import Settings
from tests.cli.conftest import Run
from workers.cli.errors import CommandFailed
from workers.query_client import NoAnswer, QueryBusy, QueryRefused

Answer = Callable[[dict[str, Any]], dict[str, Any]]
EVIL = "[bold]Evil[/]\x1b[2J \u202e"


@pytest.fixture
def keys(settings: Settings) -> Keys:
    return Keys(settings.redis.prefix)


@pytest.fixture
def catalogue(redis_client: redis.Redis, keys: Keys) -> None:
    """Two items in partition 2 of the current model: one with a title and a code, one with neither."""
    redis_client.hset(keys.model, "version", "v1")
    items = keys.items("v1", 2)
    tag = version_tag("v1")
    redis_client.hset(items.position, mapping={"epoch": 1, "next": 9, "ids": 2, "buckets": 1})
    redis_client.hset(items.codes(0), "a", CodeRecord(True, True, 0.5, 3.0, tag, b"\x00\xfe").pack())
    redis_client.hset(items.codes(0), "b", CodeRecord(False, False, 0.0, None, tag, b"").pack())
    redis_client.hset(items.attributes(0), "a", json.dumps({"title": EVIL, "price": 3, "tags": ["x", "y"]}))


def listing(user: str, source: Any, items: list[str]) -> bytes:
    scores = [1.0 / (rank + 1) for rank in range(len(items))]
    return msgspec.json.encode(Recommendations(recommendation_order(1, 1), user, "v1", source, 0.0, items, scores))


@contextmanager
def answering(client: redis.Redis, keys: Keys, answer: Answer) -> Iterator[list[dict[str, Any]]]:
    """Answer queries with plain Redis commands, as the README prints them; give the requests."""
    asked: list[dict[str, Any]] = []
    stop = threading.Event()

    def serve() -> None:
        last = b"0"
        while not stop.is_set():
            streams: Any = client.xread({keys.queries: last}, block=50)
            for entry, fields in streams[0][1] if streams else []:
                last = entry
                request = json.loads(fields[b"request"])
                asked.append(request)
                reply = {"id": request["id"], "status": "ok", "model": "v1"} | answer(request)
                client.rpush(keys.reply(request["id"]), json.dumps(reply))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield asked
    finally:
        stop.set()
        thread.join()


@pytest.mark.usefixtures("catalogue")
def test_the_finished_list_is_shown_with_titles_made_harmless(
    run_real: Run, redis_client: redis.Redis, keys: Keys
) -> None:
    redis_client.set(keys.recommendations("u"), listing("u", "model", ["a", "b", "\x1b[31mc"]))
    result = run_real("recommend", "u", "-k", "3")
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.stdout
    assert "\u202e" not in result.stdout
    assert "[bold]Evil[/]\\x1b[2J \\u202e" in result.stdout
    assert "\\x1b[31mc" in result.stdout
    document = json.loads(run_real("recommend", "u", "-k", "2", "--json").stdout)
    assert document == {
        "source": "model",
        "model": "v1",
        "items": [{"item_id": "a", "score": 1.0, "title": EVIL}, {"item_id": "b", "score": 0.5, "title": None}],
    }


@pytest.mark.usefixtures("catalogue")
def test_what_is_withdrawn_is_left_out_and_the_next_moves_up(
    run_real: Run, redis_client: redis.Redis, keys: Keys
) -> None:
    redis_client.set(keys.recommendations("u"), listing("u", "model", ["a", "b", "c"]))
    redis_client.zadd(keys.withdrawn, {"a": 2e9})
    shown = json.loads(run_real("recommend", "u", "-k", "2", "--json").stdout)["items"]
    assert [(item["item_id"], item["score"]) for item in shown] == [("b", 1 / 2), ("c", 1 / 3)]


def test_a_stranger_gets_the_popularity_list(run_real: Run, redis_client: redis.Redis, keys: Keys) -> None:
    redis_client.set(keys.popular(), listing("", "popular", ["a"]))
    result = run_real("recommend", "nobody")
    assert result.exit_code == 0, result.output
    assert "nobody has no list" in result.stdout
    assert json.loads(run_real("recommend", "nobody", "--json").stdout)["source"] == "popular"


@pytest.mark.usefixtures("catalogue")
def test_a_list_of_a_profile_is_shown_with_its_reasons(run_real: Run, redis_client: redis.Redis, keys: Keys) -> None:
    explained = msgspec.json.decode(listing("u", "model", ["b", "c"]))
    explained |= {"profile": "home", "because": [[["a", 0.75], ["z", -0.5]], []], "biases": [0.25, 0.0]}
    redis_client.set(keys.recommendations("u", "home"), msgspec.json.encode(explained))
    result = run_real("recommend", "u", "--profile", "home")
    assert result.exit_code == 0, result.output
    assert "[bold]Evil[/]\\x1b[2J \\u202e (+0.75), z (-0.5)" in result.stdout
    document = json.loads(run_real("recommend", "u", "--profile", "home", "--json").stdout)
    first = document["items"][0]
    assert first["because"] == [
        {"item_id": "a", "contribution": 0.75, "title": EVIL},
        {"item_id": "z", "contribution": -0.5, "title": None},
    ]
    assert first["bias"] == 0.25
    redis_client.set(keys.popular("home"), listing("", "popular", ["a"]))
    assert "nobody has no list" in run_real("recommend", "nobody", "--profile", "home").stdout


def test_what_trends_is_shown(run_real: Run, redis_client: redis.Redis, keys: Keys) -> None:
    missing = run_real("recommend", "--trending").exception
    assert isinstance(missing, CommandFailed)
    assert "no list of what trends" in str(missing)
    redis_client.set(keys.trending(), listing("", "trending", ["a", "b"]))
    result = run_real("recommend", "--trending", "-k", "1", "--json")
    assert [item["item_id"] for item in json.loads(result.stdout)["items"]] == ["a"]
    assert "what trends" in run_real("recommend", "--trending").stdout


def test_without_any_list_it_says_what_may_be_missing(run_real: Run) -> None:
    result = run_real("recommend", "nobody")
    assert isinstance(result.exception, CommandFailed)
    assert "neither a list" in str(result.exception)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["u", "--items", "a"],
        ["x" * 257],
        ["--items", " ,"],
        ["u", "-k", "0"],
        ["u", "--exclude", ","],
        ["u", "--trending"],
        ["--trending", "--explain"],
        ["u", "--profile", "A b"],
        ["u", "--diversity", "1.1"],
    ],
)
def test_senseless_arguments_are_refused(run_real: Run, arguments: list[str]) -> None:
    assert run_real("recommend", *arguments).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        (["recommend", "u", "--fresh", "-k", "3"], {"type": "user", "user_id": "u", "k": 3}),
        (["recommend", "--items", "a, b"], {"type": "items", "item_ids": ["a", "b"]}),
        (["similar", "a"], {"type": "similar", "item_id": "a"}),
        (
            ["recommend", "u", "--filter", '{"genre": "Drama"}', "--exclude", "b, c"],
            {"type": "user", "user_id": "u", "filter": {"genre": "Drama"}, "exclude": ["b", "c"]},
        ),
        (["recommend", "--items", "a", "--exclude", "b"], {"type": "items", "item_ids": ["a"], "exclude": ["b"]}),
        (
            ["similar", "a", "--filter", '{"price": {"lt": 5}}'],
            {"type": "similar", "item_id": "a", "filter": {"price": {"lt": 5}}},
        ),
        (
            ["recommend", "u", "--profile", "home", "--diversity", "0.5", "-k", "7"],
            {"type": "user", "user_id": "u", "profile": "home", "diversity": 0.5, "k": 7},
        ),
        (
            ["recommend", "--items", "a", "--category", "genres", "--per-category", "2", "--explain"],
            {"type": "items", "item_ids": ["a"], "category": "genres", "per_category": 2, "explain": 3},
        ),
        (
            ["recommend", "--trending", "--profile", "home", "--per-category", "2"],
            {"type": "trending", "profile": "home", "per_category": 2},
        ),
        (["recommend", "--trending", "--fresh"], {"type": "trending"}),
        (["similar", "a", "--diversity", "1"], {"type": "similar", "item_id": "a", "diversity": 1.0}),
    ],
)
def test_queries_are_asked_and_their_replies_shown(
    run_real: Run, redis_client: redis.Redis, keys: Keys, arguments: list[str], request_: dict[str, Any]
) -> None:
    with answering(redis_client, keys, lambda request: {"items": ["b"], "scores": [0.25]}) as asked:  # noqa: ARG005
        result = run_real(*arguments, "--json")
    assert result.exit_code == 0, result.output
    assert [{name: value for name, value in one.items() if name != "id"} for one in asked] == [request_]
    assert json.loads(result.stdout)["items"] == [{"item_id": "b", "score": 0.25, "title": None}]


@pytest.mark.parametrize("command", [["recommend", "u"], ["recommend", "--items", "a"], ["similar", "a"]])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("genre=Drama", "not JSON"),
        ('{"genre": ["Drama"]}', "filter.genre"),
        ('{"price": {"less": 3}}', "filter.price.less"),
    ],
)
def test_a_bad_filter_is_refused_before_anything_is_asked(
    run_real: Run, redis_client: redis.Redis, keys: Keys, command: list[str], text: str, message: str
) -> None:
    result = run_real(*command, "--filter", text)
    assert result.exit_code == 2
    assert "--filter" in result.output
    assert message in result.output
    assert not redis_client.exists(keys.queries)


def test_when_nobody_answers_it_says_so_and_takes_the_request_back(
    run_real: Run, redis_client: redis.Redis, keys: Keys
) -> None:
    result = run_real("similar", "a")
    assert isinstance(result.exception, NoAnswer)
    assert str(result.exception) == (
        "no recommender answered within 0.5 s: is `latentstream worker recommender` running?"
    )
    assert redis_client.xlen(keys.queries) == 0


def test_a_refusal_is_told(run_real: Run, redis_client: redis.Redis, keys: Keys) -> None:
    with answering(redis_client, keys, lambda request: {"status": "error", "error": "not published"}):  # noqa: ARG005
        result = run_real("similar", "a")
    assert isinstance(result.exception, QueryRefused)
    assert str(result.exception) == "not published"


def test_that_all_are_busy_is_told(run_real: Run, redis_client: redis.Redis, keys: Keys) -> None:
    told = {"status": "busy", "error": "busy: ask again later"}
    with answering(redis_client, keys, lambda request: told):  # noqa: ARG005
        result = run_real("recommend", "u", "--fresh")
    assert isinstance(result.exception, QueryBusy)
    assert str(result.exception) == "busy: ask again later"


@pytest.mark.usefixtures("catalogue")
def test_inspect_shows_what_is_stored_even_when_nobody_answers(run_real: Run) -> None:
    result = run_real("inspect", "a")
    assert result.exit_code == 0, result.output
    for shown in ("2 bytes: 00fe", "0.5", "\\x1b[2J", '["x", "y"]'):
        assert shown in result.stdout
    assert "\x1b" not in result.stdout
    assert result.stderr.count("no recommender answered") == 1
    document = json.loads(run_real("inspect", "a", "--json").stdout)
    assert document["attributes"] == {"title": EVIL, "price": 3, "tags": ["x", "y"]}
    assert (document["partition"], document["available"], document["code"]) == (2, True, "00fe")
    assert (document["anomalous"], document["anomaly_score"]) == (True, pytest.approx(3.0, rel=0.05))
    assert (document["neighbours"], len(document["problems"])) == (None, 1)


@pytest.mark.usefixtures("catalogue")
def test_inspect_refuses_a_code_of_another_model(run_real: Run, redis_client: redis.Redis, keys: Keys) -> None:
    other = CodeRecord(True, False, 0.5, None, version_tag("v1") ^ 1, b"\x00\xfe")
    redis_client.hset(keys.items("v1", 2).codes(0), "a", other.pack())
    result = run_real("inspect", "a")
    assert isinstance(result.exception, CommandFailed)
    assert "made under another model version" in str(result.exception)


@pytest.mark.usefixtures("catalogue")
def test_inspect_shows_reconstruction_and_neighbours(
    run_real: Run, redis_client: redis.Redis, keys: Keys, settings: Settings
) -> None:
    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if request["type"] == "reconstruct":
            return {"features": [0.0, 1.0, 1.0, 0.0], "reconstruction_error": 0.5}
        return {"items": ["b"], "scores": [0.5]}

    bundle = settings.registry / "v1"
    with answering(redis_client, keys, answer):
        numbers = run_real("inspect", "a").stdout
        bundle.mkdir(parents=True)
        (bundle / "manifest.json").write_text('{"version": "v1", "content": {"input_shape": [2, 2]}}')
        image = run_real("inspect", "a").stdout
        document = json.loads(run_real("inspect", "a", "--json").stdout)
    assert "0, 1, 1, 0" in numbers
    assert "nearest neighbours" in numbers
    assert "  @@\n@@  " in image
    assert document["reconstruction"] == [0.0, 1.0, 1.0, 0.0]
    assert document["neighbours"] == [{"item_id": "b", "score": 0.5, "title": None}]


@pytest.mark.usefixtures("catalogue")
def test_inspect_of_an_item_without_features_says_why_there_is_no_code(run_real: Run) -> None:
    result = run_real("inspect", "b")
    assert "published without features" in result.stdout
    assert "never recommended" in result.stdout


def test_inspect_of_what_is_not_stored_says_what_may_be_the_reason(
    run_real: Run, redis_client: redis.Redis, keys: Keys
) -> None:
    without_model = run_real("inspect", "zzz").exception
    redis_client.hset(keys.model, "version", "v1")
    with_model = run_real("inspect", "zzz").exception
    assert isinstance(without_model, CommandFailed)
    assert isinstance(with_model, CommandFailed)
    assert "there is no model yet" in str(without_model)
    assert "dead-letters list" in str(with_model)
