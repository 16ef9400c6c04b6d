"""What must hold for every codec."""

from __future__ import annotations

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.arrays import Floats
from models.codecs import Codec, CodecName, fit_codec, load_codec
from models.codecs.pairs import PairsCodec
from models.codecs.plain import FloatCodec

NAMES: tuple[CodecName, ...] = ("float32", "float16", "int8", "product", "residual", "pairs")
WIDTH = 10
BYTES = {"float32": 40, "float16": 20, "int8": 10, "product": 4, "residual": 4, "pairs": 6}
# Largest share of the variance that may be lost on latents like those of the fit.
LOSS = {"float32": 0.0, "float16": 1e-6, "int8": 1e-3, "product": 0.3, "residual": 0.3, "pairs": 3e-4}


def latents(count: int = 600, seed: int = 0) -> Floats:
    """Three of ten units are not zero."""
    rng = np.random.default_rng(seed)
    values = np.abs(rng.normal(size=(count, WIDTH))).astype(np.float32)
    values[np.argsort(rng.random((count, WIDTH)), axis=1) >= 3] = 0
    return values


@pytest.fixture(scope="module", params=NAMES)
def codec(request: pytest.FixtureRequest) -> Codec:
    return fit_codec(request.param, latents(), code_bytes=4, active=3, seed=0)


def test_sizes(codec: Codec) -> None:
    codes = codec.encode(latents(7, seed=1))
    assert codes.shape == (7, BYTES[codec.name]) == (7, codec.code_bytes)
    assert codes.dtype == np.uint8
    assert codec.latent_dim == WIDTH
    assert codec.encode(latents(0)).shape == (0, codec.code_bytes)
    assert codec.decode(codes[:0]).shape == (0, WIDTH)


def test_decoded_latents_are_near(codec: Codec) -> None:
    new = latents(500, seed=2)
    decoded = codec.decode(codec.encode(new))
    assert decoded.dtype == np.float32
    assert np.mean((decoded - new) ** 2) <= LOSS[codec.name] * new.var()


def test_a_row_does_not_depend_on_its_company(codec: Codec) -> None:
    new = latents(300, seed=3)
    codes = codec.encode(new)
    for rows in (np.arange(300)[::-1], np.array([7]), np.arange(20, 290)):
        assert codec.encode(np.ascontiguousarray(new[rows])).tobytes() == codes[rows].tobytes()
        assert codec.decode(codes[rows]).tobytes() == codec.decode(codes)[rows].tobytes()


def test_from_its_arrays_it_is_the_same_codec(codec: Codec) -> None:
    new = latents(50, seed=4)
    loaded = load_codec(codec.name, codec.arrays())
    assert loaded.encode(new).tobytes() == codec.encode(new).tobytes()
    assert loaded.decode(codec.encode(new)).tobytes() == codec.decode(codec.encode(new)).tobytes()


def test_the_same_seed_gives_the_same_codec(codec: Codec) -> None:
    again = fit_codec(codec.name, latents(), code_bytes=4, active=3, seed=0)
    assert {name: value.tobytes() for name, value in again.arrays().items()} == {
        name: value.tobytes() for name, value in codec.arrays().items()
    }


def test_codes_of_another_width_are_refused(codec: Codec) -> None:
    with pytest.raises(ValueError, match="codes must be uint8"):
        codec.decode(np.zeros((1, codec.code_bytes + 1), np.uint8))
    with pytest.raises(ValueError, match="NaN"):
        codec.encode(np.full((1, WIDTH), np.nan, np.float32))


@pytest.mark.parametrize("name", ["product", "residual"])
def test_too_few_items_are_said_to_be_so(name: CodecName) -> None:
    with pytest.raises(ValueError, match="choose the codec int8"):
        fit_codec(name, latents(100), code_bytes=4, active=3, seed=0)


def test_a_code_with_a_unit_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="another model"):
        PairsCodec(10, 2, 0.1).decode(np.array([[3, 10, 1, 1]], np.uint8))


def test_a_code_of_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        FloatCodec(1, "float16").decode(np.array([[0xFF, 0x7F]], np.uint8))


def test_what_float16_cannot_hold_becomes_its_largest() -> None:
    codec = FloatCodec(2, "float16")
    assert codec.decode(codec.encode(np.array([[1e30, -1e30]], np.float32))).tolist() == [[65504, -65504]]


@given(arrays.arrays(np.float32, (3, 300), elements=st.floats(0, 1, width=32)), st.integers(1, 20))
def test_pairs_keep_the_largest_units(values: Floats, active: int) -> None:
    codec = PairsCodec(300, active, 1 / 255)
    decoded = codec.decode(codec.encode(values))
    assert ((decoded > 0).sum(axis=1) <= active).all()
    for row, kept in zip(values, decoded, strict=True):
        largest = np.sort(row)[::-1][:active]
        np.testing.assert_allclose(np.sort(kept)[::-1][:active], largest, atol=0.5 / 255 + 1e-6)
        assert np.abs(kept[kept > 0] - row[kept > 0]).max(initial=0) <= 0.5 / 255 + 1e-6
