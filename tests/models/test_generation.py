from __future__ import annotations

import numpy as np
import pytest

from models.generation import LatentDensity, interpolated, nearest


def test_samples_have_the_mean_and_covariance_of_the_latents() -> None:
    mixing = np.random.default_rng(0).normal(size=(3, 3))
    latents = (np.random.default_rng(1).normal(size=(20_000, 3)) @ mixing + [1, 2, 3]).astype(np.float32)
    samples = LatentDensity(latents).sample(20_000, seed=2)
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples.mean(axis=0), latents.mean(axis=0), atol=0.1)
    np.testing.assert_allclose(np.cov(samples.T), np.cov(latents.T), atol=0.1 * np.abs(np.cov(latents.T)).max())


def test_samples_are_where_the_latents_are_and_not_between() -> None:
    sides = np.random.default_rng(0).choice([-5, 5], size=(4000, 1))
    latents = (sides + np.random.default_rng(1).normal(size=(4000, 2))).astype(np.float32)
    samples = LatentDensity(latents, components=2).sample(1000, seed=2)
    assert (np.abs(samples.mean(axis=1)) > 2).all()
    assert 0.4 < np.mean(samples[:, 0] > 0) < 0.6


def test_around_a_latent_the_spread_is_a_share_of_that_of_all() -> None:
    latents = np.random.default_rng(0).normal(size=(5000, 2)).astype(np.float32)
    centre = np.array([5, 5], np.float32)
    samples = LatentDensity(latents).around(centre, 0.1, 5000, seed=0)
    np.testing.assert_allclose(samples.mean(axis=0), centre, atol=0.02)
    np.testing.assert_allclose(samples.std(axis=0), 0.1 * latents.std(axis=0), rtol=0.1)
    assert np.array_equal(LatentDensity(latents).around(centre, 0, 3, seed=0), np.tile(centre, (3, 1)))


def test_one_latent_is_a_distribution_too() -> None:
    assert np.isfinite(LatentDensity(np.ones((1, 4), np.float32)).sample(5, seed=0)).all()


@pytest.mark.parametrize("last", [[0, 2, 0], [3, 0, 0], [-1, 0, 0], [0, 0, 0]])
def test_the_way_between_two_starts_and_ends_there(last: list[float]) -> None:
    first, end = np.array([1, 0, 0], np.float32), np.array(last, np.float32)
    way = interpolated(first, end, 7)
    np.testing.assert_allclose(way[[0, -1]], [first, end], atol=1e-6)
    assert np.isfinite(way).all()


def test_the_way_keeps_its_distance_from_the_origin() -> None:
    first, end = np.array([2, 0], np.float32), np.array([0, 2], np.float32)
    np.testing.assert_allclose(np.linalg.norm(interpolated(first, end, 9), axis=1), 2, rtol=1e-5)


def test_nearest() -> None:
    latents = np.arange(10, dtype=np.float32)[:, None]
    distances, rows = nearest(latents, np.array([[4.1], [8.9]], np.float32), 2)
    assert rows.tolist() == [[4, 5], [9, 8]]
    np.testing.assert_allclose(distances[:, 0], 0.01, rtol=1e-3)
    assert nearest(latents, latents, 100)[1].shape == (10, 10)
