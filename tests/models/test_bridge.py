from __future__ import annotations

import numpy as np

from models.bridge import Bridge

RNG = np.random.default_rng(0)
LATENTS = (RNG.uniform(-2, 2, (400, 3)) * [1, 10, 0.1]).astype(np.float32)
TARGETS = np.stack([LATENTS[:, 0], np.sin(LATENTS[:, 1] / 5), 3 + LATENTS[:, 2] * LATENTS[:, 0]], axis=1).astype(
    np.float32
)


def test_learns_linear_and_curved_targets() -> None:
    bridge, r_squared = Bridge.fit(LATENTS[:300], TARGETS[:300], 3, np.full(300, 1000), 0)
    unseen = TARGETS[300:]
    explained = 1 - np.sum((bridge(LATENTS[300:]) - unseen) ** 2) / np.sum((unseen - TARGETS[:300].mean(axis=0)) ** 2)
    assert explained > 0.97
    assert abs(explained - r_squared) < 0.03


def test_noise_is_answered_with_the_mean() -> None:
    noise = RNG.normal(4, 1, (300, 2)).astype(np.float32)
    bridge, r_squared = Bridge.fit(LATENTS[:300], noise, 2, np.full(300, 1000), 0)
    assert r_squared < 0.05
    assert np.abs(bridge(LATENTS[300:]) - 4).max() < 1


def test_rows_with_few_interactions_count_less() -> None:
    targets = np.zeros((400, 1), np.float32)
    targets[::2] = 1
    counts = np.where(np.arange(400) % 2, 1, 10_000)
    bridge, _ = Bridge.fit(LATENTS, targets, 1, counts, 0)
    # Trust is 1 / 31 against nearly 1, so the mean is about 31 / 32.
    assert abs(float(bridge(LATENTS).mean()) - 31 / 32) < 0.02


def test_constant_latents_give_the_mean() -> None:
    bridge, _ = Bridge.fit(np.ones((40, 2), np.float32), TARGETS[:40], 3, np.full(40, 5), 0)
    np.testing.assert_allclose(bridge(np.ones((1, 2), np.float32))[0], TARGETS[:40].mean(axis=0), atol=1e-3)
