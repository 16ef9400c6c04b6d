"""Residual quantisation: a sum of codewords, each the best for what the ones before left over.

Chen et al. 2010, "Approximate nearest neighbor search by residual vector quantization"; the search for the
codewords keeps several partial sums (Babenko and Lempitsky 2014, section 3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from models.arrays import Bytes, Floats, float_matrix
from models.codecs.codec import checked_codes

CODEWORDS: Final = 256
_FIT_ROWS: Final = 20_000
_FIT_BEAM: Final = 4
_FIT_ITERATIONS: Final = 8


class ResidualCodec:
    """One byte a codebook.

    Args:
        codebooks: float32 ``[code_bytes, 256, latent_dim]``.
        candidates: codes that a model decodes and compares to find the best for an item.
    """

    name: Literal["residual"] = "residual"

    def __init__(self, codebooks: Floats, candidates: int = 1) -> None:
        if codebooks.ndim != 3 or codebooks.shape[1] != CODEWORDS or not np.isfinite(codebooks).all():
            raise ValueError(f"a residual codec needs finite codebooks [bytes, {CODEWORDS}, width]")
        self.codebooks = codebooks.astype(np.float32)
        self.candidates = candidates
        self._search: Callable[[Floats], Bytes] | None = None

    @classmethod
    def fit(
        cls, latents: Floats, code_bytes: int, candidates: int = 1, seed: int = 0, *, progressive: bool = True
    ) -> Self:
        """Return the codec of ``code_bytes`` codebooks that FAISS finds in ``latents`` ``[n, latent_dim]``.

        ``progressive`` clusters in few dimensions first and keeps several sums. That is for few codebooks, of which
        each counts: 64 of them over 256 dimensions take half a minute without it, and more than half an hour with it.

        Raises:
            ValueError: there are fewer latents than codewords.
        """
        if len(latents) < CODEWORDS:
            raise ValueError(
                f"residual quantisation needs {CODEWORDS} items, there are {len(latents)}: choose the codec int8"
            )
        stride = -(-len(latents) // _FIT_ROWS)
        quantizer = faiss.ResidualQuantizer(latents.shape[1], code_bytes, 8)
        quantizer.cp.seed = seed + 1
        quantizer.cp.min_points_per_centroid = 1
        quantizer.cp.niter = _FIT_ITERATIONS
        quantizer.max_beam_size = _FIT_BEAM if progressive else 1
        quantizer.train_type = (
            faiss.ResidualQuantizer.Train_progressive_dim if progressive else faiss.ResidualQuantizer.Train_default
        )
        quantizer.train(np.ascontiguousarray(latents[::stride]))
        return cls(faiss.vector_to_array(quantizer.codebooks).reshape(code_bytes, CODEWORDS, -1), candidates)

    @property
    def code_bytes(self) -> int:
        """Bytes of one code: the number of codebooks."""
        return len(self.codebooks)

    @property
    def latent_dim(self) -> int:
        """Width of the latents."""
        return int(self.codebooks.shape[2])

    def encode(self, latents: Floats) -> Bytes:
        """Return the codes nearest to latents float32 ``[n, latent_dim]``, uint8 ``[n, code_bytes]``."""
        if self._search is None:
            # Here, so that whoever only decodes need not import TensorFlow.
            from models.codecs.search import residual_search

            self._search = residual_search(self.codebooks)
        return self._search(float_matrix(latents, self.latent_dim, "latents"))

    def decode(self, codes: Bytes) -> Floats:
        """Return latents, float32 ``[n, latent_dim]``.

        Raises:
            ValueError: the codes are not of this codec.
        """
        checked = checked_codes(codes, self.code_bytes)
        latents = np.zeros((len(codes), self.latent_dim), np.float32)
        for codebook, column in zip(self.codebooks, checked.T, strict=True):
            latents += codebook[column]
        return latents

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what the bundle stores."""
        return {"codebooks": self.codebooks, "candidates": np.int64(self.candidates).reshape(1)}
