from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.drift import FEWEST, Bins, Latents, Popularity, Snapshot, Window, stability_index
from models.files import save_arrays
from models.training import Trained

COUNTS = arrays(np.float64, 8, elements=st.integers(0, 10_000))
SHARES = arrays(np.float64, 8, elements=st.floats(1e-6, 1)).map(lambda weights: weights / weights.sum())


def test_the_index_is_that_of_the_literature() -> None:
    """With many observations: .2 ln 2 + .2 ln 3 / 2 - ... as one computes it by hand."""
    found = stability_index(np.array([0.5, 0.5]), np.array([8e9, 2e9]))
    assert found == pytest.approx(0.3 * np.log(0.8 / 0.5) - 0.3 * np.log(0.2 / 0.5), rel=1e-6)


@given(SHARES, st.integers(1, 1_000_000))
def test_equal_distributions_have_an_index_of_zero(expected: np.ndarray, count: int) -> None:
    assert abs(stability_index(expected, expected * count)) < 1e-9


@given(SHARES, COUNTS)
def test_the_index_is_finite_and_not_negative_whatever_is_empty(expected: np.ndarray, counts: np.ndarray) -> None:
    assert 0 <= stability_index(expected, counts) + 1e-12 < np.inf


@given(SHARES, COUNTS, st.floats(0, 1), st.floats(0, 1))
def test_the_index_grows_with_the_shift(expected: np.ndarray, other: np.ndarray, one: float, two: float) -> None:
    total = max(other.sum(), 1.0)
    small, large = (
        stability_index(expected, (1 - share) * total * expected + share * other) for share in sorted((one, two))
    )
    assert small <= large + 1e-9


@given(arrays(np.float32, st.tuples(st.integers(400, 500), st.just(2)), elements=st.floats(-5, 5, width=32)))
def test_what_was_trained_on_is_counted_as_it_was(values: np.ndarray) -> None:
    """However many values are alike."""
    bins = Bins.fit(values)
    assert bins is not None
    counts = bins.count(values)
    assert counts.sum(axis=1).tolist() == [len(values)] * 2
    assert stability_index(bins.expected, counts).max() < 0.02


def normal(seed: int, count: int, width: int = 4, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, width)).astype(np.float32)


@pytest.mark.parametrize("trained", [FEWEST, 400, 5_000])
def test_chance_alone_makes_no_model_due_however_few_items_there_were(trained: int) -> None:
    indices = []
    for seed in range(20):
        latents = Latents.fit(normal(seed, trained, width=32))
        assert latents is not None
        window = Window(latents.bins.expected, 1000)
        for batch in range(10):
            window.add(latents.count(normal(1000 + 20 * seed + batch, 200, width=32)))
        indices.append(window.index)
    assert max(indices) < 0.25


def test_too_few_make_no_bins() -> None:
    assert Bins.fit(normal(0, FEWEST - 1)) is None
    assert Latents.fit(normal(0, FEWEST - 1)) is None
    assert Popularity.fit(np.zeros(FEWEST - 1, np.int64), np.zeros(FEWEST - 1), 1) is None


def test_a_shift_of_any_coordinate_or_of_the_spread_shows() -> None:
    latents = Latents.fit(normal(0, 5_000, width=6))
    assert latents is not None

    def index(values: np.ndarray) -> float:
        window = Window(latents.bins.expected, 10_000)
        window.add(latents.count(values))
        return window.index

    assert index(normal(1, 5_000, width=6)) < 0.02
    for coordinate in range(6):
        shifted = normal(1, 5_000, width=6)
        shifted[:, coordinate] += 1
        assert index(shifted) > 0.5
    assert index(2 * normal(1, 5_000, width=6)) > 0.5
    assert index(np.full((5_000, 6), np.nan, np.float32)) < np.inf


def test_old_observations_fade() -> None:
    bins = Bins.fit(normal(0, 5_000, width=1))
    assert bins is not None
    window = Window(bins.expected, 500)
    for _ in range(10):
        window.add(bins.count(normal(1, 500, width=1, shift=2)))
    assert window.index > 1
    assert window.risen
    for seed in range(10):
        window.add(bins.count(normal(seed, 500, width=1)))
    assert window.index < 0.05
    assert window.observed == 10_000
    lower = Window(bins.expected, 500)
    lower.add(bins.count(normal(1, 500, width=1, shift=-2)))
    assert not lower.risen


def popularity_index(popularity: Popularity, items: np.ndarray) -> float:
    vocabulary = {str(item): item for item in range(len(popularity.bin_of))}
    counts = popularity.count(vocabulary, list(map(str, items)))
    assert counts.sum() == len(items)
    return float(stability_index(popularity.expected, counts))


def test_what_becomes_popular_shows_and_so_do_new_items() -> None:
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, 501)
    shares /= shares.sum()
    then, now = (rng.choice(500, 20_000, p=shares) for _ in range(2))
    popularity = Popularity.fit(then, np.zeros(len(then)), 500)
    assert popularity is not None
    assert popularity_index(popularity, now) < 0.01
    assert popularity_index(popularity, 499 - now) > 1
    new = now.copy()
    new[: len(new) // 2] = 1_000
    assert popularity_index(popularity, new) > 0.25


def test_popularity_is_that_of_the_newest_interactions() -> None:
    items = np.repeat([0, 1], 30_000)
    timestamps = np.arange(60_000)[::-1].astype(np.float64)
    popularity = Popularity.fit(items, timestamps, 2)
    assert popularity is not None
    assert popularity.bin_of[0] == 0
    assert popularity.bin_of[1] == len(popularity.expected) - 1


def snapshot() -> Snapshot:
    return Snapshot(
        700,
        30,
        Bins.fit(normal(0, 400, width=1)),
        Latents.fit(normal(0, 400)),
        Popularity.fit(np.arange(400) % 9, np.zeros(400), 12),
    )


def test_a_snapshot_is_what_it_was_once_loaded(tmp_path: Path) -> None:
    saved, nothing = snapshot(), Snapshot(3, 0)
    saved.save(tmp_path / "x.npz")
    loaded = Snapshot.load(tmp_path / "x.npz", latent_dim=4, vocabulary=12)
    assert (loaded.items, loaded.users) == (700, 30)
    for one, other in ((saved.errors, loaded.errors), (saved.latents, loaded.latents)):
        assert one is not None
        assert other is not None
        values = normal(5, 1_000, width=1 if one is saved.errors else 4)
        assert one.count(values).tolist() == other.count(values).tolist()
    assert loaded.popularity is not None
    assert loaded.popularity.bin_of.tolist() == saved.popularity.bin_of.tolist()  # type: ignore[union-attr]
    nothing.save(tmp_path / "y.npz")
    assert Snapshot.load(tmp_path / "y.npz", latent_dim=4, vocabulary=12) == nothing


@pytest.mark.parametrize(
    "change",
    [
        {"error_edges": np.zeros((1, 3), np.float32)},
        {"error_edges": np.zeros((1, 9), np.complex64)},
        {"error_shares": np.zeros((1, 10))},
        {"error_shares": np.full((1, 10), 0.2)},
        {"error_shares": np.full((1, 10), np.nan)},
        {"error_shares": np.full(10, 0.1)},
        {"latent_mean": np.zeros(5, np.float32)},
        {"latent_mean": np.zeros((2, 2), np.float32)},
        {"latent_mean": np.array(list("abcd"))},
        {"error_shares": np.full((1, 10), 0.1, np.complex128)},
        {"latent_coordinates": np.array([0, 1, 2, 4])},
        {"latent_coordinates": np.array([-1, 1, 2, 3])},
        {"latent_coordinates": np.array([0.0, 1, 2, 3])},
        {"latent_coordinates": np.array([0, 1, 2])},
        {"popularity_bins": np.full(12, 200, np.uint8)},
        {"popularity_bins": np.zeros(12)},
        {"popularity_bins": np.zeros(11, np.uint8)},
        {"popularity_bins": np.zeros((3, 4), np.uint8)},
        {"counted": np.zeros(3, np.int64)},
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, np.ndarray], tmp_path: Path) -> None:
    snapshot().save(tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as stored:
        values = dict(stored.items())
    assert change.keys() <= values.keys()
    save_arrays(tmp_path / "x.npz", values | change)
    with pytest.raises(ValueError, match=r"fit|shares|coordinates|another|unpack"):
        Snapshot.load(tmp_path / "x.npz", latent_dim=4, vocabulary=12)


def test_a_training_makes_what_its_data_are_enough_for(trained: Trained) -> None:
    made = trained.parts.snapshot
    assert made is not None
    assert (made.popularity is not None) == bool(trained.parts.space.vocabulary)
    assert (made.items, made.users) == (48, 48 if made.popularity is not None else 0)
    # 48 items are too few.
    assert made.latents is None
    assert made.errors is None
