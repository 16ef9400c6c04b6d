"""What is particular to one kind, on data whose right answer is known."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from models.arrays import Floats
from models.autoencoder_training import train_autoencoder
from models.autoencoders import Autoencoder, AutoencoderConfig, build_autoencoder
from models.autoencoders.denoising import corrupted
from models.autoencoders.variational import kl_divergence
from models.runtime import tf

BASE = AutoencoderConfig(input_shape=(12,), latent_dim=3, hidden=(32, 32))


def on_a_plane(count: int = 600, seed: int = 0) -> Floats:
    """Rows of variance 1 a feature in a plane of 2 dimensions, and a little noise."""
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(np.random.default_rng(99).normal(size=(12, 2)))[0].T * np.sqrt(6)
    return np.asarray(rng.normal(size=(count, 2)) @ directions + rng.normal(0, 0.05, (count, 12)), np.float32)


def trained(epochs: int = 60, **changes: Any) -> Autoencoder:
    autoencoder = build_autoencoder(msgspec.structs.replace(BASE, **changes), seed=1)
    rows = on_a_plane()
    autoencoder.start(rows)
    train_autoencoder(autoencoder, rows[:500], rows[500:], epochs=epochs, seed=1, report=lambda *_: None)
    return autoencoder


def error(autoencoder: Autoencoder, rows: Floats, seen: Floats | None = None) -> float:
    restored = autoencoder.reconstruct(autoencoder.encoder(rows if seen is None else seen)).numpy()
    return float(np.mean((restored - rows) ** 2))


def test_undercomplete_finds_the_plane() -> None:
    assert error(trained(), on_a_plane(seed=5)) < 0.05


@pytest.mark.parametrize(
    "changes", [{"penalty": "contractive", "penalty_weight": 0.05}, {"penalty": "top_k", "active": 2}]
)
def test_overcomplete_does_not_merely_copy(changes: dict[str, Any]) -> None:
    """A copying machine gives back noise as well as data; a model of the data does not."""
    autoencoder = trained(kind="overcomplete", latent_dim=24, **changes)
    noise = np.random.default_rng(3).normal(size=(600, 12)).astype(np.float32)
    data = on_a_plane(seed=5)
    assert error(autoencoder, data) < 0.25 * data.var()
    assert error(autoencoder, noise) > 0.5 * noise.var()


def test_left_alone_a_wide_latent_copies() -> None:
    """What the penalty is there against: the check above can fail."""
    autoencoder = trained(kind="overcomplete", latent_dim=24, hidden=(), penalty="contractive", penalty_weight=0.0)
    noise = np.random.default_rng(3).normal(size=(600, 12)).astype(np.float32)
    before = error(build_autoencoder(autoencoder.config, seed=1), noise)
    assert error(autoencoder, noise) < before


def test_l1_makes_a_latent_sparser_the_stronger_it_is() -> None:
    sparsity = []
    for weight in (0.0, 0.3):
        autoencoder = trained(kind="sparse", latent_dim=16, penalty="l1", penalty_weight=weight)
        rows = on_a_plane(seed=5)
        sparsity.append(autoencoder.statistics(rows, autoencoder.encoder(rows).numpy())["sparsity"])
    assert sparsity[0] < sparsity[1]


def test_kl_brings_units_to_the_target_activation() -> None:
    autoencoder = trained(kind="sparse", latent_dim=16, penalty="kl", penalty_weight=3.0)
    assert autoencoder.encoder(on_a_plane(seed=5)).numpy().mean() == pytest.approx(0.05, abs=0.03)


def test_top_k_leaves_k_units() -> None:
    autoencoder = build_autoencoder(
        msgspec.structs.replace(BASE, kind="sparse", penalty="top_k", latent_dim=16, active=3)
    )
    latents = autoencoder.encoder(on_a_plane()).numpy()
    assert ((latents > 0).sum(axis=1) == 3).all()


@pytest.mark.parametrize(("corruption", "amount"), [("gaussian", 0.7), ("masking", 0.3), ("salt_and_pepper", 0.3)])
def test_denoising_removes_the_noise_it_was_trained_on(corruption: Any, amount: float) -> None:
    autoencoder = trained(kind="denoising", corruption=corruption, corruption_amount=amount)
    clean = on_a_plane(seed=5)
    noisy = corrupted(tf.constant(clean), corruption, amount, tf.constant([5, 6])).numpy()
    assert error(autoencoder, clean, noisy) < 0.6 * np.mean((noisy - clean) ** 2)


@pytest.mark.parametrize("corruption", ["masking", "salt_and_pepper"])
def test_corruption_hits_the_share_it_should(corruption: Any) -> None:
    rows = np.random.default_rng(0).random((200, 50)).astype(np.float32) + 1
    hit = corrupted(tf.constant(rows), corruption, 0.3, tf.constant([1, 2])).numpy() != rows
    assert hit.mean() == pytest.approx(0.3, abs=0.03)


def test_kl_divergence_is_that_of_the_closed_form() -> None:
    """Against the integral, by a fine sum."""
    mean, log_variance = 0.7, -0.9
    grid = np.linspace(-12, 12, 200_001)
    density = np.exp(-((grid - mean) ** 2) / (2 * np.exp(log_variance))) / np.sqrt(2 * np.pi * np.exp(log_variance))
    prior = np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi)
    integral = np.sum(density * np.log(np.maximum(density, 1e-300) / prior)) * (grid[1] - grid[0])
    both = kl_divergence(tf.constant([[mean, 0.0]]), tf.constant([[log_variance, 0.0]])).numpy()
    assert both[0] == pytest.approx(integral, rel=1e-4)


def test_variational_uses_as_many_units_as_the_data_has_and_collapses_under_a_large_beta() -> None:
    rows = on_a_plane(seed=5)
    usual, crushed = (trained(kind="variational", latent_dim=6, beta=beta, epochs=300) for beta in (1.0, 1000.0))
    assert usual.statistics(rows, usual.encoder(rows).numpy())["active_units"] == 2
    found = crushed.statistics(rows, crushed.encoder(rows).numpy())
    assert found["active_units"] == 0
    assert found["kl_nats"] < 0.1


def test_the_gradient_reaches_the_first_of_many_layers() -> None:
    deep = build_autoencoder(msgspec.structs.replace(BASE, hidden=(16,) * 40))
    rows = tf.constant(on_a_plane(64))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(deep.losses(rows, tf.constant([1, 2]), tf.constant(1.0)).reconstruction)
    norms = [float(tf.norm(gradient)) for gradient in tape.gradient(loss, deep.trainable) if len(gradient.shape) == 2]
    assert norms[0] > 0.01 * max(norms)


def test_residual_starts_as_pca() -> None:
    rows = on_a_plane()
    autoencoder = build_autoencoder(msgspec.structs.replace(BASE, network="residual", latent_dim=2))
    fresh = error(autoencoder, rows)
    autoencoder.start(rows)
    centred = rows - rows.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    lost = float(np.mean((centred - centred @ vectors[:, -2:] @ vectors[:, -2:].T) ** 2))
    assert error(autoencoder, rows) < lost + 0.05 < fresh
