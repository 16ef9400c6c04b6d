from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.arrays import Bytes
from models.codecs import Int8Codec

CODEC = Int8Codec(np.array([-1, 0, 5], np.float32), np.array([0.01, 1, 0.5], np.float32))


@given(arrays(np.uint8, st.tuples(st.integers(0, 20), st.just(3))))
def test_decoded_codes_encode_to_themselves(codes: Bytes) -> None:
    assert np.array_equal(CODEC.encode(CODEC.decode(codes)), codes)


def test_error_is_at_most_half_a_step_inside_the_range() -> None:
    latents = np.random.default_rng(0).uniform([-1, 0, 5], [1.55, 255, 132.5], (1000, 3)).astype(np.float32)
    error = np.abs(CODEC.decode(CODEC.encode(latents)) - latents)
    assert (error <= CODEC.step / 2 * 1.001).all()


def test_values_outside_the_range_are_clipped() -> None:
    codes = CODEC.encode(np.array([[-1e30, 1e30, 5]], np.float32))
    assert codes.tolist() == [[0, 255, 0]]


def test_fit_covers_ordinary_latents_finely() -> None:
    latents = np.random.default_rng(0).normal([0, 10], [1, 0.1], (5000, 2)).astype(np.float32)
    codec = Int8Codec.fit(latents)
    relative = np.sqrt(np.mean((codec.decode(codec.encode(latents)) - latents) ** 2, axis=0)) / [1, 0.1]
    # A uniform quantiser of 256 levels over 8 standard deviations has an error of 8 / 256 / sqrt(12) = .009.
    assert (relative < 0.012).all()


def test_one_outlier_does_not_coarsen_the_rest() -> None:
    latents = np.random.default_rng(0).normal(0, 1, (20_000, 1)).astype(np.float32)
    latents[0] = 15
    assert Int8Codec.fit(latents).step[0] < 0.5 * (15 - latents.min()) / 255


def test_a_dimension_that_never_changes_comes_back() -> None:
    latents = np.full((10, 2), 3.25, np.float32)
    codec = Int8Codec.fit(latents)
    assert np.array_equal(codec.decode(codec.encode(latents)), latents)


@pytest.mark.parametrize("latents", [np.zeros((2, 4)), np.zeros(3), np.full((1, 3), np.nan)])
def test_wrong_latents_are_refused(latents: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    with pytest.raises(ValueError, match="latents"):
        CODEC.encode(latents.astype(np.float32))


def test_wrong_codes_are_refused() -> None:
    with pytest.raises(ValueError, match="codes must be uint8"):
        CODEC.decode(np.zeros((1, 2), np.uint8))
    with pytest.raises(ValueError, match="no latents"):
        Int8Codec.fit(np.empty((0, 3), np.float32))
    with pytest.raises(ValueError, match="positive step"):
        Int8Codec(np.zeros(1, np.float32), np.zeros(1, np.float32))
