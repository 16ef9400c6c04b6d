"""``evaluate recommendation``: each protocol on people with a taste, whose lists can be told right from wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from typer.testing import CliRunner

from models.arrays import Floats
from models.histories import Histories, Interactions
from schemas.model_settings import ContentSettings, ModelSettings
from workers.cli import app
from workers.datasets.interactions import Split, UnusableData
from workers.evaluation import cold_items, prequential, recommendation

USERS, ITEMS, TASTES = 120, 300, 4
QUICK = ModelSettings(interaction_kind="contrastive", user_dim=16, item_bytes=16, interaction_epochs=20)
DAY = 86_400.0


def quiet(_: str) -> Any:
    return lambda *_: None


def interactions() -> Interactions:
    """Users who mostly take items of one taste; twelve on their first day, the others a day each."""
    rng = np.random.default_rng(0)
    users, items, times = [], [], []
    for user in range(USERS):
        own = np.arange(user % TASTES, ITEMS, TASTES)
        chosen = np.concatenate([rng.choice(own, 17, replace=False), rng.choice(ITEMS, 3)])
        for place, item in enumerate(rng.permutation(chosen)):
            users.append(user)
            items.append(item)
            # Half of the users come when the others are done.
            times.append(DAY * (max(place - 12, 0) + 20 * (user >= USERS // 2)) + place)
    return Interactions(np.array(users), np.array(items), np.ones(len(users), np.float32), np.array(times, float))


def split() -> Split:
    train, test = Histories.of(interactions(), USERS).split_last(0.25)
    features: Floats = (np.eye(TASTES)[np.arange(ITEMS) % TASTES]).astype(np.float32)
    noise = np.random.default_rng(1).normal(0, 0.1, (ITEMS, TASTES + 2))
    noise[:, :TASTES] += features
    return Split("tastes", ITEMS, train, test, noise.astype(np.float32))


def evaluate(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["evaluate", "recommendation", *arguments, "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    told: dict[str, Any] = json.loads(result.stdout)
    return told


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tastes")
    parts = split()
    early, late = parts.train.split_last(0.2)
    for name, histories in (("train", early), ("valid", late), ("test", parts.test)):
        sp.save_npz(path / f"{name}.npz", histories.sparse(ITEMS))
    return path


@pytest.mark.parametrize("protocol", ["weak", "strong"])
def test_the_model_and_what_is_served_of_it_beat_popularity(directory: Path, protocol: str) -> None:
    told = evaluate(
        *("--data", str(directory), "--protocol", protocol, "--dim", "16", "--bytes", "16"),
        *("--epochs", "20", "--seeds", "2"),
    )
    assert told["protocol"] == protocol
    assert told["seeds"] == (2 if protocol == "strong" else 1)
    assert told["bytes_per_item"] == 16 + 4  # The bias.
    names = {f"{figure}@{k}" for figure in ("recall", "ndcg", "coverage", "novelty") for k in (10, 20, 50, 100)}
    everyone = [told["exact"], told["served"], told["baselines"]["ease"], told["baselines"]["popularity"]]
    assert all(set(figures) == names for figures in everyone)
    assert told["exact"]["recall@50"] > 2 * told["baselines"]["popularity"]["recall@50"]
    assert told["served"]["ndcg@20"] == pytest.approx(told["exact"]["ndcg@20"], rel=0.05)
    assert told["train_seconds"] > 0


def test_what_is_served_differs_from_the_exact_model_by_the_codes_only() -> None:
    parts = split()
    trained = recommendation.train(parts.train, ITEMS, QUICK, quiet)
    exact, _ = trained.network.recommend(parts.train, 20)
    served = recommendation.serve(trained.bundle, parts.train, 20)
    overlap = np.mean([len(set(one) & set(other)) / 20 for one, other in zip(exact, served, strict=True)])
    assert overlap > 0.95
    had = [set(items.tolist()) for items in recommendation.per_user(parts.train)]
    assert not any(had[user] & set(row.tolist()) for user, row in enumerate(served))


def test_streaming_follows_what_a_daily_refresh_has_not_seen() -> None:
    result = prequential.measure(split(), QUICK, quiet)
    assert result.daily_without_code > 0.3 > result.streaming_without_code
    assert result.streaming > result.daily
    low, high = result.interval
    assert 0 < low < result.streaming_minus_daily < high


def test_without_times_nothing_can_be_replayed(directory: Path) -> None:
    told = CliRunner().invoke(
        app, ["evaluate", "recommendation", "--data", str(directory), "--protocol", "prequential"]
    )
    assert told.exit_code != 0
    assert isinstance(told.exception, UnusableData)  # Which the command line says in one line.
    assert "has no times" in str(told.exception)


def test_the_bootstrap_resamples_users_and_not_interactions() -> None:
    rng = np.random.default_rng(0)
    # Ten interactions of each user that all say the same: as many observations as there are users.
    users = np.repeat(np.arange(400), 10)
    low, high = prequential.bootstrap(np.repeat(rng.normal(0.2, 1, 400), 10), users, 0)
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(400), rel=0.15)


def test_new_items_are_recommended_by_their_content() -> None:
    settings = QUICK.model_copy(update={"content": ContentSettings(latent_dim=4, hidden=[16], epochs=20)})
    result = cold_items.measure(split(), settings, 1, quiet)
    assert result.hidden_items == ITEMS // 10
    for figure in ("recall@20", "ndcg@20"):
        assert result.bridge[figure] > 1.2 * result.random[figure]
        assert result.content[figure] > 1.2 * result.random[figure]
