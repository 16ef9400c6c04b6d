"""The interface of all codecs: latents to a fixed number of bytes, and back."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from models.arrays import Bytes, Floats

CodecName = Literal["float32", "float16", "int8", "product", "residual", "pairs"]


class Codec(Protocol):
    """Rows are computed independently of each other, bit for bit."""

    @property
    def name(self) -> CodecName:
        """What the manifest calls it."""
        ...

    @property
    def code_bytes(self) -> int:
        """Bytes of one code."""
        ...

    @property
    def latent_dim(self) -> int:
        """Width of the latents."""
        ...

    def encode(self, latents: Floats) -> Bytes:
        """Return codes, uint8 ``[n, code_bytes]``, of float32 ``[n, latent_dim]``."""
        ...

    def decode(self, codes: Bytes) -> Floats:
        """Return latents, float32 ``[n, latent_dim]``, of uint8 ``[n, code_bytes]``.

        Raises:
            ValueError: the codes are not of this codec's width.
        """
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what the bundle stores; ``load_codec(name, arrays)`` is the same codec."""
        ...


def checked_codes(codes: Bytes, width: int) -> Bytes:
    """Return ``codes``.

    Raises:
        ValueError: they are not uint8 ``[n, width]``.
    """
    if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != width:
        raise ValueError(f"codes must be uint8 [rows, {width}], not {codes.dtype} {list(codes.shape)}")
    return codes
