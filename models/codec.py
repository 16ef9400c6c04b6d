"""One byte a dimension: the codec between latents and what Redis stores."""

from __future__ import annotations

from typing import Final, Self

import numpy as np

from models.arrays import Bytes, Floats, float_matrix

LEVELS: Final = 255
# Shares of the values cut off at either end that are tried; a dimension takes the one with the least error.
_CLIPPED_SHARES: Final = (0.0, 1e-4, 1e-3, 5e-3)
# Rounding error of a uniform quantiser and clipping error pull in opposite directions; a sample shows both.
_FIT_ROWS: Final = 100_000


class Int8Codec:
    """Affine quantisation of each dimension to 0..255.

    ``code = round((latent - low) / step)``, clipped; ``latent' = low + step * code``.
    """

    def __init__(self, low: Floats, step: Floats) -> None:
        if low.ndim != 1 or low.shape != step.shape or not (np.isfinite(low).all() and (step > 0).all()):
            raise ValueError("a codec needs one finite lower bound and one positive step for each dimension")
        self.low = low.astype(np.float32)
        self.step = step.astype(np.float32)

    @property
    def code_bytes(self) -> int:
        """Bytes of one code, which is also the number of dimensions."""
        return len(self.low)

    @classmethod
    def fit(cls, latents: Floats) -> Self:
        """Return the codec whose range suits ``latents`` ``[n, d]``.

        The range of each dimension is the pair of quantiles that gives the least squared error, so that
        a few outliers do not make the steps of everything else coarse.
        """
        if not len(latents):
            raise ValueError("a codec cannot be fitted on no latents")
        stride = -(-len(latents) // _FIT_ROWS)
        sample = float_matrix(latents, latents.shape[1], "latents")[::stride]
        best_error = np.full(sample.shape[1], np.inf)
        low = np.zeros(sample.shape[1], np.float32)
        step = np.ones(sample.shape[1], np.float32)
        for share in _CLIPPED_SHARES:
            bottom, top = np.quantile(sample, [share, 1 - share], axis=0).astype(np.float32)
            # A dimension that never changes still needs a step to divide by.
            candidate = cls(bottom, np.where(top > bottom, (top - bottom) / LEVELS, np.float32(1)))
            error = np.mean((candidate.decode(candidate.encode(sample)) - sample) ** 2, axis=0, dtype=np.float64)
            better = error < best_error
            best_error = np.where(better, error, best_error)
            low = np.where(better, candidate.low, low)
            step = np.where(better, candidate.step, step)
        return cls(low, step)

    def encode(self, latents: Floats) -> Bytes:
        """Return the codes, uint8 ``[n, code_bytes]``, of float32 ``[n, code_bytes]``."""
        matrix = float_matrix(latents, self.code_bytes, "latents")
        levels: Floats = np.rint((matrix - self.low) / self.step)
        return np.clip(levels, 0, LEVELS).astype(np.uint8)

    def decode(self, codes: Bytes) -> Floats:
        """Return the latents, float32 ``[n, code_bytes]``, of uint8 ``[n, code_bytes]``."""
        if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != self.code_bytes:
            raise ValueError(f"codes must be uint8 [rows, {self.code_bytes}], not {codes.dtype} {list(codes.shape)}")
        return self.low + self.step * codes.astype(np.float32)

    def arrays(self) -> dict[str, Floats]:
        """Return what the bundle stores; ``Int8Codec(**arrays)`` is the same codec."""
        return {"low": self.low, "step": self.step}
