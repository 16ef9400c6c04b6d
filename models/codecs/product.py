"""Product quantisation: the latent in pieces, each the nearest of 256 centroids (Jégou et al. 2011)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from models.arrays import Bytes, Floats, float_matrix
from models.codecs.codec import checked_codes

CENTROIDS: Final = 256
_ITERATIONS: Final = 25


class ProductCodec:
    """One byte a piece. The last piece is padded with zeros where the width does not divide.

    Args:
        centroids: float32 ``[pieces, 256, piece width]``.
        latent_dim: width of the latents.
    """

    name: Literal["product"] = "product"

    def __init__(self, centroids: Floats, latent_dim: int) -> None:
        if centroids.ndim != 3 or centroids.shape[1] != CENTROIDS or not np.isfinite(centroids).all():
            raise ValueError(f"a product codec needs finite centroids [pieces, {CENTROIDS}, width]")
        self.latent_dim = latent_dim
        self._centroids = centroids.astype(np.float32)
        self._nearest: Callable[[Floats], Bytes] | None = None

    @classmethod
    def fit(cls, latents: Floats, code_bytes: int, seed: int = 0) -> Self:
        """Return the codec of ``code_bytes`` pieces whose centroids FAISS finds in ``latents``.

        Raises:
            ValueError: there are fewer latents than centroids, or fewer dimensions than pieces.
        """
        count, latent_dim = latents.shape
        if count < CENTROIDS or latent_dim < code_bytes:
            raise ValueError(
                f"product quantisation to {code_bytes} bytes needs {CENTROIDS} items or more, and a latent of"
                f" {code_bytes} or more; there are {count} of width {latent_dim}: choose the codec int8"
            )
        width = -(-latent_dim // code_bytes)
        padded = np.zeros((count, code_bytes * width), np.float32)
        padded[:, :latent_dim] = latents
        quantizer = faiss.ProductQuantizer(padded.shape[1], code_bytes, 8)
        quantizer.cp.seed = seed + 1
        quantizer.cp.niter = _ITERATIONS
        quantizer.cp.min_points_per_centroid = 1
        quantizer.train(padded)
        return cls(faiss.vector_to_array(quantizer.centroids).reshape(code_bytes, CENTROIDS, width), latent_dim)

    @property
    def code_bytes(self) -> int:
        """Bytes of one code: the number of pieces."""
        return len(self._centroids)

    def encode(self, latents: Floats) -> Bytes:
        """Return codes, uint8 ``[n, code_bytes]``, of float32 ``[n, latent_dim]``."""
        matrix = float_matrix(latents, self.latent_dim, "latents")
        padded = np.zeros((len(matrix), self.code_bytes * self._centroids.shape[2]), np.float32)
        padded[:, : self.latent_dim] = matrix
        if self._nearest is None:
            # Here, so that whoever only decodes need not import TensorFlow.
            from models.codecs.search import product_search

            self._nearest = product_search(self._centroids)
        return self._nearest(padded)

    def decode(self, codes: Bytes) -> Floats:
        """Return latents, float32 ``[n, latent_dim]``.

        Raises:
            ValueError: the codes are not of this codec.
        """
        pieces = self._centroids[np.arange(self.code_bytes), checked_codes(codes, self.code_bytes)]
        return np.ascontiguousarray(pieces.reshape(len(codes), pieces.shape[1] * pieces.shape[2])[:, : self.latent_dim])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what the bundle stores."""
        return {"centroids": self._centroids, "latent_dim": np.int64(self.latent_dim).reshape(1)}
