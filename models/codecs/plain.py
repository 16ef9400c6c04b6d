"""Latents as they are: float32, or float16 at half the size."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.arrays import Bytes, Floats, float_matrix
from models.codecs.codec import checked_codes

_LARGEST_HALF = float(np.finfo(np.float16).max)


class FloatCodec:
    """Little-endian floats of 4 or 2 bytes; what float16 cannot hold becomes its largest value."""

    def __init__(self, latent_dim: int, name: Literal["float32", "float16"]) -> None:
        self.latent_dim = latent_dim
        self.name: Literal["float32", "float16"] = name
        self._dtype = np.dtype("<f4" if name == "float32" else "<f2")

    @property
    def code_bytes(self) -> int:
        """Bytes of one code."""
        return self.latent_dim * self._dtype.itemsize

    def encode(self, latents: Floats) -> Bytes:
        """Return codes, uint8 ``[n, code_bytes]``, of float32 ``[n, latent_dim]``."""
        matrix = float_matrix(latents, self.latent_dim, "latents")
        if self.name == "float16":
            matrix = np.clip(matrix, -_LARGEST_HALF, _LARGEST_HALF)
        return matrix.astype(self._dtype).view(np.uint8)

    def decode(self, codes: Bytes) -> Floats:
        """Return latents, float32 ``[n, latent_dim]``; a code of NaN or infinity is an error.

        Raises:
            ValueError: the codes are not of this codec.
        """
        values = np.ascontiguousarray(checked_codes(codes, self.code_bytes)).view(self._dtype)
        return float_matrix(values, self.latent_dim, "latents of the codes")

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what the bundle stores."""
        return {"latent_dim": np.int64(self.latent_dim).reshape(1)}
