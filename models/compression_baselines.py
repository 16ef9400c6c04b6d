"""What people compress vectors with today, to be measured beside our codes at the same bytes.

All are fitted on float32 ``[n, features]`` and have ``encode`` (to what a decoder needs) and ``decode``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import faiss
import numpy as np

from models.arrays import Bytes, Floats
from models.codecs.int8 import Int8Codec

_FIT_ROWS: Final = 20_000
_RESIDUAL_BEAM: Final = 4


class Compressor(Protocol):
    """A method with everything it learnt."""

    def encode(self, rows: Floats) -> Bytes:
        """Return codes, uint8 ``[n, bytes]``."""
        ...

    def decode(self, codes: Bytes) -> Floats:
        """Return float32 ``[n, features]``."""
        ...


class Pca:
    """Principal components and, on them, a codec of a byte each or a FAISS quantizer."""

    def __init__(self, training: Floats, components: int) -> None:
        self._mean = training.mean(axis=0)
        centred = training - self._mean
        _, vectors = np.linalg.eigh(centred.T @ centred)
        self._basis: Floats = np.ascontiguousarray(vectors[:, ::-1][:, :components])

    def project(self, rows: Floats) -> Floats:
        """Return components, float32 ``[n, components]``."""
        return np.ascontiguousarray((rows - self._mean) @ self._basis)

    def restore(self, components: Floats) -> Floats:
        """Return rows, float32 ``[n, features]``."""
        restored: Floats = components @ self._basis.T + self._mean
        return restored


class PcaInt8:
    """A byte for each of the first components."""

    def __init__(self, training: Floats, code_bytes: int) -> None:
        self._pca = Pca(training, code_bytes)
        self._codec = Int8Codec.fit(self._pca.project(training))

    def encode(self, rows: Floats) -> Bytes:
        """Return codes, uint8 ``[n, bytes]``."""
        return self._codec.encode(self._pca.project(rows))

    def decode(self, codes: Bytes) -> Floats:
        """Return float32 ``[n, features]``."""
        return self._pca.restore(self._codec.decode(codes))


class PcaResidual:
    """FAISS's residual quantizer on the first components."""

    def __init__(self, training: Floats, code_bytes: int, components: int) -> None:
        self._pca = Pca(training, components)
        self._quantizer = faiss.ResidualQuantizer(components, code_bytes, 8)
        self._quantizer.max_beam_size = _RESIDUAL_BEAM
        self._quantizer.train(self._pca.project(training[:: -(-len(training) // _FIT_ROWS)]))

    def encode(self, rows: Floats) -> Bytes:
        """Return codes, uint8 ``[n, bytes]``."""
        codes: Bytes = self._quantizer.compute_codes(self._pca.project(rows))
        return codes

    def decode(self, codes: Bytes) -> Floats:
        """Return float32 ``[n, features]``."""
        return self._pca.restore(self._quantizer.decode(codes))


class ProductQuantiser:
    """FAISS's product quantizer on the features; ``rotated`` is OPQ (Ge et al. 2013)."""

    def __init__(self, training: Floats, code_bytes: int, *, rotated: bool) -> None:
        width = training.shape[1]
        # Every piece has as many dimensions: the nearest multiple from above, or below where OPQ reduces.
        self._padding = -width % code_bytes
        padded = self._padded(training)
        self._rotation: Any = None
        if rotated:
            self._rotation = faiss.OPQMatrix(padded.shape[1], code_bytes)
            self._rotation.train(padded[:: -(-len(padded) // _FIT_ROWS)])
            padded = self._rotation.apply(padded)
        self._width = width
        self._quantizer: Any = faiss.ProductQuantizer(padded.shape[1], code_bytes, 8)
        self._quantizer.train(np.ascontiguousarray(padded))

    def encode(self, rows: Floats) -> Bytes:
        """Return codes, uint8 ``[n, bytes]``."""
        padded = self._padded(rows)
        codes: Bytes = self._quantizer.compute_codes(self._rotation.apply(padded) if self._rotation else padded)
        return codes

    def decode(self, codes: Bytes) -> Floats:
        """Return float32 ``[n, features]``."""
        padded: Floats = self._quantizer.decode(codes)
        if self._rotation:
            padded = self._rotation.reverse_transform(padded)
        rows: Floats = padded[:, : self._width]
        return rows

    def _padded(self, rows: Floats) -> Floats:
        return np.pad(rows, ((0, 0), (0, self._padding))) if self._padding else np.ascontiguousarray(rows)


def baselines(code_bytes: int, features: int) -> dict[str, Callable[[Floats], Compressor]]:
    """Return the methods that fit, by name; each is fitted by calling it with the training rows."""
    methods: dict[str, Callable[[Floats], Compressor]] = {}
    if code_bytes <= features:
        methods["PCA + int8"] = lambda rows: PcaInt8(rows, code_bytes)
        methods["FAISS PQ"] = lambda rows: ProductQuantiser(rows, code_bytes, rotated=False)
        methods["FAISS OPQ"] = lambda rows: ProductQuantiser(rows, code_bytes, rotated=True)
    # More components are not better: the quantizer has the same bytes for all of them.
    for components in sorted({min(features, factor * code_bytes) for factor in (4, 8, 16)}):
        methods[f"PCA {components} + residual"] = lambda rows, kept=components: PcaResidual(  # type: ignore[misc]
            rows, code_bytes, kept
        )
    return methods
