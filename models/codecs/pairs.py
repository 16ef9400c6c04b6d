"""Index-value pairs, for latents of which few units are not zero (the top-k autoencoder)."""

from __future__ import annotations

from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from models.arrays import Bytes, Floats, Ints, float_matrix
from models.codecs.codec import checked_codes

_LEVELS: Final = 255
_NARROW: Final = 256


class PairsCodec:
    """``active`` pairs of an index (1 byte, 2 above 256 units) and a value (1 byte).

    ``value = step * level``, level 0..255, so values are non-negative; of more units the largest count. Pairs
    are in the order of their index.
    """

    name: Literal["pairs"] = "pairs"

    def __init__(self, latent_dim: int, active: int, step: float) -> None:
        if not (1 <= active <= latent_dim <= 1 << 16 and np.isfinite(step) and step > 0):
            raise ValueError(f"{active} of {latent_dim} units with step {step} make no codec of pairs")
        self.latent_dim = latent_dim
        self.active = active
        self._step = np.float32(step)
        self._index = np.dtype("u1" if latent_dim <= _NARROW else "<u2")

    @classmethod
    def fit(cls, latents: Floats, active: int) -> Self:
        """Return the codec whose values reach up to the largest in ``latents`` ``[n, latent_dim]``."""
        largest = float(latents.max(initial=0))
        return cls(latents.shape[1], min(active, latents.shape[1]), largest / _LEVELS if largest > 0 else 1.0)

    @property
    def code_bytes(self) -> int:
        """Bytes of one code."""
        return self.active * (self._index.itemsize + 1)

    def encode(self, latents: Floats) -> Bytes:
        """Return codes, uint8 ``[n, code_bytes]``: all indices, then all levels."""
        matrix = float_matrix(latents, self.latent_dim, "latents")
        # Stable, so that of equal values always the same count.
        largest: Ints = np.sort(np.argsort(-matrix, axis=1, kind="stable")[:, : self.active], axis=1)
        values = np.take_along_axis(matrix, largest, axis=1)
        levels = np.clip(np.rint(values / self._step), 0, _LEVELS).astype(np.uint8)
        return np.concatenate([largest.astype(self._index).view(np.uint8), levels], axis=1)

    def decode(self, codes: Bytes) -> Floats:
        """Return latents, float32 ``[n, latent_dim]``.

        Raises:
            ValueError: the codes are not of this codec.
        """
        split = self.active * self._index.itemsize
        indices = np.ascontiguousarray(checked_codes(codes, self.code_bytes)[:, :split]).view(self._index)
        if indices.size and int(indices.max()) >= self.latent_dim:
            raise ValueError(f"codes have units beyond {self.latent_dim}: they belong to another model")
        latents = np.zeros((len(codes), self.latent_dim), np.float32)
        np.put_along_axis(latents, indices.astype(np.int64), self._step * codes[:, split:], axis=1)
        return latents

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what the bundle stores."""
        return {"shape": np.array([self.latent_dim, self.active]), "step": self._step.reshape(1)}
