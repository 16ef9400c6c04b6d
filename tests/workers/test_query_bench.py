"""``latentstream bench query`` on few items, and the load that it makes, on real Kafka, Redis and a recommender."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest
import redis
import typer
from typer.testing import CliRunner

from schemas.settings import Settings
from workers.bench import query
from workers.bench.glove_catalogue import GloveCatalogue
from workers.bench.query_rows import Answers, Filtered, PeerAnswers, Read, ratios
from workers.bench.resp_load import (
    REQUEST_NUMBER,
    LoadGenerator,
    Traffic,
    answered,
    command,
    exchange,
    is_list,
    is_string,
)
from workers.cli import bench_query
from workers.datasets import glove
from workers.sandbox import SandboxError

ITEMS = 2_000


@pytest.fixture(autouse=True)
def _words(monkeypatch: pytest.MonkeyPatch) -> None:
    words = np.random.default_rng(0).standard_normal((ITEMS, 50), np.float32)
    monkeypatch.setattr(glove, "load", lambda: words)


@pytest.fixture
def port(redis_client: redis.Redis) -> int:
    return int(redis_client.connection_pool.connection_kwargs["port"])


def test_all_sides_find_the_same(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LATENTSTREAM_HOME", str(settings.home))
    monkeypatch.setenv("LATENTSTREAM_KAFKA__BOOTSTRAP_SERVERS", settings.kafka.bootstrap_servers)
    monkeypatch.setenv("LATENTSTREAM_REDIS__URL", settings.redis.url.get_secret_value())
    monkeypatch.setattr(query, "EFS", (10, 500))
    app = typer.Typer()
    app.command()(bench_query.query)
    result = CliRunner().invoke(app, ["--items", str(ITEMS), "--seconds", "0.1", "--json"])
    assert result.exit_code == 0, result.output
    bench_query.show(msgspec.json.decode(result.stdout, type=query.Result))
    shown = capsys.readouterr().out
    assert all(what in shown for what in ("recall@100", "ours, 1% match", "GET of a list", f"{ITEMS:,} items"))
    found = json.loads(result.stdout)
    assert (found["items"], found["dim"], found["repetitions"]) == (ITEMS, 50, 5)
    rows = [*found["ours"], *found["redis_vector_set"], *found["filtered"], *found["reads"]["lists"]]
    for row in rows:
        assert row["failed"] == 0
        assert 0 <= row["qps_spread"][0] <= row["qps"] <= row["qps_spread"][1] > 0
        assert 0 < row["p50_ms"] <= row["p99_ms"]
    assert [(row["clients"], row["recall@10"], row["recall@100"]) for row in found["ours"]] == [
        (clients, 1.0, 1.0) for clients in (1, 16, 64)
    ]
    assert [(row["filters"], row["clients"], row["recall@10"]) for row in found["filtered"]] == [
        (filters, clients, 1.0) for filters in (1, 100) for clients in (1, 16, 64)
    ]
    assert found["reads"]["lists"][0]["bytes"] == found["reads"]["plain"][0]["bytes"] > 500
    if int(found["redis"].split(".")[0]) < 8:
        assert found["redis_vector_set"] == []
        assert "no vector sets" in found["missing"]
        return
    swept = {(row["m"], row["ef"]): row for row in found["redis_vector_set"] if row["clients"] == query.SWEEP_CLIENTS}
    assert swept.keys() == {(m, ef) for m in (16, 32) for ef in (10, 500)}
    assert all(swept[m, 500]["recall@10"] > 0.99 for m in (16, 32))
    assert all(swept[m, 10]["recall@100"] < swept[m, 500]["recall@100"] for m in (16, 32))
    assert [one["clients"] for one in found["ratios"]["best_recall@100"]] == [1, 16, 64]


def test_ratios_are_over_the_fastest_setting_that_finds_enough() -> None:
    figures: Any = {
        "qps_spread": (1.0, 1.0),
        "p50_ms": 1.0,
        "p99_spread_ms": (1.0, 1.0),
        "failed": 0,
        "client_cpu": 0.1,
    }

    def peer(ef: int, qps: float, at_10: float, at_100: float) -> PeerAnswers:
        recalls: Any = {"recall_at_10": at_10, "recall_at_100": at_100}
        return PeerAnswers(clients=16, qps=qps, p99_ms=4.0, quantization="Q8", m=16, ef=ef, **recalls, **figures)

    ours = [Answers(clients=16, qps=100.0, p99_ms=1.0, recall_at_10=1.0, recall_at_100=1.0, **figures)]
    peers = [
        peer(50, 80.0, 0.9, 0.8),
        peer(100, 50.0, 0.99, 0.9),
        peer(200, 25.0, 0.999, 0.97),
        peer(400, 10.0, 0.999, 0.98),
    ]
    filtered = [Filtered(clients=16, qps=30.0, p99_ms=1.0, filters=1, recall_at_10=1.0, **figures)]
    lists, plain = ([Read(clients=16, qps=qps, p99_ms=1.0, bytes=900, **figures)] for qps in (900.0, 1000.0))
    found = ratios(ours, peers, filtered, lists, plain)
    for against, setting, qps in (
        (found.good_recall_at_10, "Q8 M 16 EF 100", 2.0),
        (found.best_recall_at_10, "Q8 M 16 EF 200", 4.0),
        (found.best_recall_at_100, "Q8 M 16 EF 400", 10.0),
    ):
        assert [(one.clients, one.peer, one.qps, one.p99) for one in against] == [(16, setting, qps, 0.25)]
    assert (found.filtered, found.reads) == ({1: {16: 0.3}}, {16: 0.9})
    assert ratios(ours, peers[:1], filtered, lists, plain).good_recall_at_10 == []
    assert ratios(ours, [], filtered, lists, plain).best_recall_at_10 == []


def test_recall_is_of_neighbours_and_not_of_the_item_itself() -> None:
    catalogue = GloveCatalogue(ITEMS, 20)
    cuts = catalogue.cuts([10])[:, 0]
    scores = catalogue.vectors[catalogue.asked] @ catalogue.vectors.T
    ranked = np.argsort(-scores, axis=1)
    assert (ranked[:, 0] == catalogue.asked).all()
    assert catalogue.recall(ranked[:, :11].tolist(), cuts, 10) == 1.0
    assert catalogue.recall(ranked[:, 1:11].tolist(), cuts, 10) == 1.0
    assert catalogue.recall(ranked[:, 6:16].tolist(), cuts, 10) == pytest.approx(0.5)
    assert catalogue.recall(ranked[:, [1] * 10].tolist(), cuts, 10) == pytest.approx(0.1)


def test_filtered_recall_is_among_the_items_of_the_group() -> None:
    catalogue = GloveCatalogue(ITEMS, 20)
    groups = np.full(20, 7)
    cuts = catalogue.cuts([10], groups)[:, 0]
    scores = catalogue.vectors[catalogue.asked] @ catalogue.vectors.T
    everywhere = np.argsort(-scores, axis=1)[:, 1:11]
    scores[:, catalogue.groups != 7] = -np.inf
    assert catalogue.recall(np.argsort(-scores, axis=1)[:, :11].tolist(), cuts, 10, groups) == 1.0
    # They are nearer, and do not match.
    assert catalogue.recall(everywhere.tolist(), cuts, 10, groups) < 0.2


def test_each_request_is_answered_once_whoever_asks(port: int, settings: Settings) -> None:
    counter = settings.redis.prefix
    replies = [reply for _, reply in exchange(port, [command("INCR", counter)] * 300, clients=7)]
    assert sorted(replies) == list(range(1, 301))


def test_request_numbers_are_never_the_same(redis_client: redis.Redis, port: int, settings: Settings) -> None:
    request = command("SADD", settings.redis.prefix, REQUEST_NUMBER)
    assert all(reply == 1 for _, reply in exchange(port, [request] * 50, clients=3))
    assert redis_client.scard(settings.redis.prefix) == 50


def test_last_of_several_replies_is_the_answer(port: int, settings: Settings) -> None:
    key = settings.redis.prefix
    request = command("RPUSH", key, REQUEST_NUMBER) + command("BLPOP", key, 5)
    traffic = Traffic([request] * 3, is_list, replies=2)
    assert answered(port, traffic) == [[key.encode(), b"%016d" % number] for number in range(3)]


def test_answers_that_are_none_are_told(redis_client: redis.Redis, port: int, settings: Settings) -> None:
    key = settings.redis.prefix
    redis_client.set(key, "something")
    right, wrong = command("GET", key), command("HGET", key, "field")
    with pytest.raises(SandboxError, match="WRONGTYPE"):
        answered(port, Traffic([right, wrong], is_string))
    with LoadGenerator(port) as load:
        mixed = load.run(Traffic([right, wrong], is_string), clients=2, seconds=0.1)
        assert mixed.failed > 0
        assert mixed.qps > 0
        assert 0 < mixed.p50_ms <= mixed.p99_ms
        assert load.run(Traffic([right], is_string), clients=2, seconds=0.1).failed == 0
        with pytest.raises(SandboxError, match="not one of"):
            load.run(Traffic([wrong], is_string), clients=1, seconds=0.1)
