"""Codecs: what becomes of a latent in Redis. Each is a file; :func:`fit_codec` makes one for a model.

| codec | bytes of a code | for |
|---|---|---|
| float32, float16 | 4 or 2 a dimension | when nothing may be lost |
| int8 | 1 a dimension | small catalogues, narrow latents |
| product | any | quick to train and to encode, from 256 items on |
| residual | any | the smallest error at a given size, from 256 items on |
| pairs | 2 or 3 an active unit | top-k latents |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from models.arrays import Floats
from models.codecs.codec import Codec, CodecName
from models.codecs.int8 import Int8Codec
from models.codecs.pairs import PairsCodec
from models.codecs.plain import FloatCodec
from models.codecs.product import ProductCodec
from models.codecs.residual import ResidualCodec

__all__ = ["Codec", "CodecName", "Int8Codec", "fit_codec", "load_codec"]


def fit_codec(
    name: CodecName, latents: Floats, *, code_bytes: int, active: int, seed: int, candidates: int = 1
) -> Codec:
    """Return a codec fitted on float32 ``[n, latent_dim]``.

    Args:
        name: which one.
        latents: of training items.
        code_bytes: size of a code, for product and residual.
        active: pairs of a code, for pairs.
        seed: of the k-means.
        candidates: codes that a model compares by decoding them, for residual.

    Raises:
        ValueError: there are too few latents.
    """
    match name:
        case "float32" | "float16":
            return FloatCodec(latents.shape[1], name)
        case "int8":
            return Int8Codec.fit(latents)
        case "product":
            return ProductCodec.fit(latents, code_bytes, seed)
        case "residual":
            return ResidualCodec.fit(latents, code_bytes, candidates, seed)
        case "pairs":
            return PairsCodec.fit(latents, active)


def load_codec(name: CodecName, arrays: Mapping[str, NDArray[Any]]) -> Codec:
    """Return the codec whose ``arrays()`` these are.

    Raises:
        ValueError: they are of another codec.
        KeyError: one is missing.
    """
    match name:
        case "float32" | "float16":
            return FloatCodec(int(arrays["latent_dim"][0]), name)
        case "int8":
            return Int8Codec(arrays["low"], arrays["step"])
        case "product":
            return ProductCodec(arrays["centroids"], int(arrays["latent_dim"][0]))
        case "residual":
            return ResidualCodec(arrays["codebooks"], int(arrays["candidates"][0]))
        case "pairs":
            latent_dim, active = map(int, arrays["shape"])
            return PairsCodec(latent_dim, active, float(arrays["step"][0]))
