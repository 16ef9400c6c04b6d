"""``latentstream bench index`` with few vectors."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from workers.cli.bench_index import index

app = typer.Typer()
app.command()(index)


def test_each_kind_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.bench.index_kinds._REPETITION_S", 0.01)
    monkeypatch.setattr("workers.bench.index_live._IDLE_QUERIES", 20)
    monkeypatch.setattr("models.index_parts.LARGEST_FLAT", 3_000)
    # Eight dimensions are not those of GloVe, so nothing is fetched that matters.
    monkeypatch.setattr("workers.datasets.glove.load", missing)
    result = CliRunner().invoke(app, ["--sizes", "2000,4000", "--dim", "8", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["dim"], found["data"]) == (8, "generated, 1,000 clusters, cosine")
    assert "Generated vectors, not GloVe: not here" in result.stderr
    for size, chosen in zip(found["sizes"], ("exact", "approximate"), strict=True):
        kinds = {kind["name"]: kind for kind in size["kinds"]}
        assert list(kinds) == ["flat", "IVF flat", "PQ fast-scan, refined (ours)", "HNSW", "RaBitQ, refined"]
        assert kinds["flat"]["recall_at_10"] == kinds["flat"]["recall_at_100"] == 1
        assert 32 <= kinds["flat"]["bytes_a_vector"] < 33
        for kind in kinds.values():
            assert kind["recall_at_10"] > 0.9
            assert [rate["per_call"] for rate in kind["rates"]] == [1, 64, 1024]
            assert all(0 < rate["min"] <= rate["median"] <= rate["max"] for rate in kind["rates"])
        assert size["ours"]["chosen"].startswith(chosen)
        assert size["ours"]["upserts_per_s"] > 0
        assert size["ours"]["p99_ratio"] > 0


def missing() -> None:
    from workers.datasets import DatasetMissing

    raise DatasetMissing("not here")


def test_sizes_are_numbers() -> None:
    result = CliRunner().invoke(app, ["--sizes", "10,x"])
    assert result.exit_code == 2
    assert "whole numbers" in result.output
