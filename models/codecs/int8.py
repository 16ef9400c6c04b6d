"""One byte a dimension: the codec between latents and what Redis stores."""

from __future__ import annotations

from typing import Final, Literal, Self

import numpy as np

from models.arrays import Bytes, Floats, float_matrix
from models.codecs.codec import checked_codes

LEVELS: Final = 255
# Rounding to 256 levels costs little and clipping much: on features with a tail, cutting off 1 value in 1,000
# doubled the error of the decoded items. So only what is rarer still is cut off, and the range is widened a
# little for items that come later.
_CLIPPED_SHARE: Final = 1e-4
_MARGIN: Final = 0.05
_FIT_ROWS: Final = 100_000


class Int8Codec:
    """Affine quantisation of each dimension to 0..255.

    ``code = round((latent - low) / step)``, clipped; ``latent' = low + step * code``.
    """

    name: Literal["int8"] = "int8"

    def __init__(self, low: Floats, step: Floats) -> None:
        if low.ndim != 1 or low.shape != step.shape or not (np.isfinite(low).all() and (step > 0).all()):
            raise ValueError("a codec needs one finite lower bound and one positive step for each dimension")
        self.low = low.astype(np.float32)
        self.step = step.astype(np.float32)

    @property
    def code_bytes(self) -> int:
        """Bytes of one code, which is also the number of dimensions."""
        return len(self.low)

    @property
    def latent_dim(self) -> int:
        """Width of the latents."""
        return len(self.low)

    @classmethod
    def fit(cls, latents: Floats) -> Self:
        """Return the codec whose range suits ``latents`` ``[n, d]``.

        The range covers all but the rarest values of each dimension, so that one outlier in ten thousand
        does not make the steps of everything else coarse.
        """
        if not len(latents):
            raise ValueError("a codec cannot be fitted on no latents")
        stride = -(-len(latents) // _FIT_ROWS)
        sample = float_matrix(latents, latents.shape[1], "latents")[::stride].astype(np.float64)
        low, high = np.quantile(sample, [_CLIPPED_SHARE, 1 - _CLIPPED_SHARE], axis=0)
        margin = _MARGIN * (high - low)
        # A dimension that never changes still needs a step to divide by.
        step = np.where(high > low, (high - low + 2 * margin) / LEVELS, 1.0)
        return cls((low - margin).astype(np.float32), step.astype(np.float32))

    def encode(self, latents: Floats) -> Bytes:
        """Return the codes, uint8 ``[n, code_bytes]``, of float32 ``[n, code_bytes]``."""
        matrix = float_matrix(latents, self.code_bytes, "latents")
        levels: Floats = np.rint((matrix - self.low) / self.step)
        return np.clip(levels, 0, LEVELS).astype(np.uint8)

    def decode(self, codes: Bytes) -> Floats:
        """Return the latents, float32 ``[n, code_bytes]``, of uint8 ``[n, code_bytes]``."""
        return self.low + self.step * checked_codes(codes, self.code_bytes).astype(np.float32)

    def arrays(self) -> dict[str, Floats]:
        """Return what the bundle stores."""
        return {"low": self.low, "step": self.step}
