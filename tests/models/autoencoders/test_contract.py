"""What must hold for every kind of autoencoder, with either network and every loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from models.arrays import Floats
from models.autoencoder_training import adam_with_decay, train_autoencoder, training_step
from models.autoencoders import KINDS, Autoencoder, AutoencoderConfig, build_autoencoder
from models.checkpoints import Checkpoints
from models.codecs import fit_codec
from models.content import ContentModel
from models.runtime import tf
from models.scaling import Scaling

DENSE = AutoencoderConfig(input_shape=(12,), latent_dim=4, hidden=(16, 16, 8))
RESIDUAL = msgspec.structs.replace(DENSE, network="residual")
IMAGES = AutoencoderConfig(input_shape=(7, 10, 3), latent_dim=5, hidden=(4, 6), network="convolutional")
VARIANTS: dict[str, dict[str, Any]] = {
    "vanilla": {"kind": "vanilla"},
    "vanilla-linear": {"kind": "vanilla", "hidden": ()},
    "vanilla-binary": {"kind": "vanilla", "loss": "binary"},
    "vanilla-cosine": {"kind": "vanilla", "loss": "cosine"},
    "vanilla-multinomial": {"kind": "vanilla", "loss": "multinomial"},
    "overcomplete-contractive": {"kind": "overcomplete", "penalty": "contractive", "latent_dim": 20},
    "overcomplete-l1": {"kind": "overcomplete", "penalty": "l1", "latent_dim": 20},
    "sparse-l1": {"kind": "sparse", "penalty": "l1"},
    "sparse-kl": {"kind": "sparse", "penalty": "kl"},
    "sparse-top_k": {"kind": "sparse", "penalty": "top_k", "latent_dim": 20, "active": 3},
    "denoising-gaussian": {"kind": "denoising", "corruption": "gaussian"},
    "denoising-masking": {"kind": "denoising", "corruption": "masking"},
    "denoising-salt_and_pepper": {"kind": "denoising", "corruption": "salt_and_pepper"},
    "variational": {"kind": "variational"},
    "variational-binary": {"kind": "variational", "loss": "binary"},
}


# The loss and the penalty do not depend on the network: one of each kind is enough with the other network.
CONVOLUTIONAL = ("vanilla", "overcomplete-contractive", "sparse-top_k", "denoising-gaussian", "variational-binary")


@pytest.fixture(
    params=[
        *(f"dense/{name}" for name in VARIANTS),
        "residual/vanilla",
        "residual/variational",
        *(f"convolutional/{name}" for name in CONVOLUTIONAL),
    ],
)
def config(request: pytest.FixtureRequest) -> AutoencoderConfig:
    network, _, name = request.param.partition("/")
    base = {"dense": DENSE, "residual": RESIDUAL, "convolutional": IMAGES}[network]
    return msgspec.structs.replace(base, **VARIANTS[name])


def rows_for(config: AutoencoderConfig, count: int = 40, seed: int = 0) -> Floats:
    """Non-negative rows of which a few directions explain most."""
    rng = np.random.default_rng(seed)
    mixture = rng.random((3, config.input_dim)) ** 3
    return np.asarray(rng.random((count, 3)) @ mixture + 0.05 * rng.random((count, config.input_dim)), np.float32)


def content_model(autoencoder: Autoencoder, rows: Floats) -> ContentModel:
    config = autoencoder.config
    scaling = Scaling.fit(rows, loss=config.loss, shared_scale=False)
    latents = np.asarray(autoencoder.encoder(scaling.scaled(rows)))
    codec = fit_codec("pairs" if config.penalty == "top_k" else "int8", latents, code_bytes=1, active=3, seed=0)
    return ContentModel(autoencoder, scaling, codec)


def test_every_kind_is_covered() -> None:
    assert {changes["kind"] for changes in VARIANTS.values()} == set(KINDS)


def test_shapes(config: AutoencoderConfig) -> None:
    autoencoder = build_autoencoder(config)
    rows = rows_for(config)
    latents = autoencoder.encoder(rows)
    assert latents.shape == (40, config.latent_dim)
    assert autoencoder.reconstruct(latents).shape == rows.shape
    losses = autoencoder.losses(tf.constant(rows), tf.constant([1, 2]), tf.constant(0.5))
    assert losses.reconstruction.shape == losses.penalty.shape == (40,)
    assert (losses.penalty.numpy() >= 0).all()
    model = content_model(autoencoder, rows)
    encoded = model.encode(rows)
    assert encoded.codes.shape == (40, model.code_bytes)
    assert np.isfinite(encoded.errors).all()
    assert model.encode(rows[:0]).codes.shape == (0, model.code_bytes)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(config: AutoencoderConfig) -> None:
    first, same, other = (build_autoencoder(config, seed) for seed in (3, 3, 4))
    kernels = [[each.numpy() for each in made.trainable if len(each.shape) > 1] for made in (first, same, other)]
    assert all(np.array_equal(a, b) for a, b in zip(kernels[0], kernels[1], strict=True))
    assert not any(np.array_equal(a, c) for a, c in zip(kernels[0], kernels[2], strict=True))


def test_saved_and_loaded_it_is_the_same(config: AutoencoderConfig, tmp_path: Path) -> None:
    rows = rows_for(config)
    model = content_model(build_autoencoder(config, seed=5), rows)
    model.save(tmp_path)
    loaded = ContentModel.load(tmp_path, config, model.codec.name, detects=False)
    assert loaded.encode(rows).codes.tobytes() == model.encode(rows).codes.tobytes()
    assert loaded.encode(rows).errors.tobytes() == model.encode(rows).errors.tobytes()
    assert msgspec.json.decode(msgspec.json.encode(config), type=AutoencoderConfig) == config


def test_inference_is_deterministic_and_a_row_does_not_depend_on_its_company(config: AutoencoderConfig) -> None:
    rows = rows_for(config, count=300)
    model = content_model(build_autoencoder(config), rows)
    codes, errors, _ = model.encode(rows)
    again = model.encode(rows)
    assert again.codes.tobytes() == codes.tobytes()
    assert again.errors.tobytes() == errors.tobytes()
    for chosen in (np.arange(300)[::-1], np.array([0]), np.array([299]), np.arange(100, 157)):
        own = model.encode(np.ascontiguousarray(rows[chosen]))
        assert own.codes.tobytes() == codes[chosen].tobytes()
        assert own.errors.tobytes() == errors[chosen].tobytes()


def test_the_gradient_reaches_every_weight(config: AutoencoderConfig) -> None:
    autoencoder = build_autoencoder(config)
    rows = tf.constant(rows_for(config, count=64))
    with tf.GradientTape() as tape:
        losses = autoencoder.losses(rows, tf.constant([1, 2]), tf.constant(1.0))
        loss = tf.reduce_mean(losses.reconstruction + losses.penalty)
    for variable, gradient in zip(autoencoder.trainable, tape.gradient(loss, autoencoder.trainable), strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient.numpy()).all(), variable.path
        assert np.abs(gradient.numpy()).max() > 0, variable.path


def test_training_steps_are_reproducible_and_lower_the_loss(config: AutoencoderConfig) -> None:
    scaled = Scaling.fit(rows_for(config), loss=config.loss, shared_scale=False).scaled(rows_for(config))
    trials = []
    for _ in range(2):
        autoencoder = build_autoencoder(config)
        step = training_step(autoencoder, adam_with_decay(3e-3, 60, 1e-4, autoencoder.trainable))
        losses = [float(step(scaled, np.array([0, n], np.int32), np.float32(1))) for n in range(60)]
        trials.append(losses)
    assert trials[0] == trials[1]
    assert np.mean(trials[0][-5:]) < np.mean(trials[0][:5])


def test_a_training_that_was_interrupted_ends_as_if_it_was_not(config: AutoencoderConfig, tmp_path: Path) -> None:
    scaled = Scaling.fit(rows_for(config), loss=config.loss, shared_scale=False).scaled(rows_for(config))

    class Interrupted(Exception):  # noqa: N818
        pass

    def trained(checkpoints: Checkpoints | None, stop_after: int | None) -> Autoencoder:
        autoencoder = build_autoencoder(config)
        checkpoint = checkpoints.stage("autoencoder") if checkpoints else None

        def report(done: int, _total: int, _note: str) -> None:
            if done == stop_after:
                raise Interrupted

        train_autoencoder(autoencoder, scaled[:30], scaled[30:], epochs=4, seed=1, report=report, checkpoint=checkpoint)
        return autoencoder

    whole = trained(None, None)
    checkpoints = Checkpoints(tmp_path, b"identity")
    with pytest.raises(Interrupted):
        trained(checkpoints, 3)
    assert checkpoints.found
    continued = trained(checkpoints, None)
    for variable, expected in zip(continued.trainable, whole.trainable, strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected.numpy())
    checkpoints.finish()
    assert not checkpoints.found
