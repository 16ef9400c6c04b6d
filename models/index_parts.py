"""The two parts of the index: the sealed one in FAISS and the small delta on the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

import faiss
import numpy as np

from models.arrays import Doubles, Floats, Ints, row_norms
from models.index_fast import FastSearch

# As many rows are compared one by one on the host: the answers are exact, and fast enough.
LARGEST_FLAT: Final = 50_000
# FAISS selects at most so many on a GPU (`getMaxKSelection` in its GPU code); the host is asked for more.
LARGEST_FETCH: Final = 2048
# FAISS takes 1.5 GB by default, next to a TensorFlow that needs the same memory.
_GPU_SCRATCH_BYTES: Final = 64 << 20


class Top(NamedTuple):
    """Candidates of a part for q queries.

    ``scores`` float32 and ``rows`` int64 are ``[q, m]``; the float32 score of a row that is not among
    them is at most ``cut[i]`` (float64 ``[q]``), which is -inf where all rows are. Of a part that is searched
    approximately that holds for the rows that were looked at, and for nearly all others.
    """

    scores: Floats
    rows: Ints
    cut: Doubles


class Part(Protocol):
    """Rows of vectors that can be searched."""

    largest_norm: float

    def __len__(self) -> int:
        """Return the number of rows, stale ones included."""
        ...

    @property
    def vectors(self) -> Floats:
        """All rows, float32 ``[n, dim]``; not to be written to."""
        ...

    def search(self, queries: Floats, fetch: int) -> Top:
        """Return the ``fetch`` rows (or all) with the largest float32 inner products."""
        ...


class SealedPart:
    """Immutable rows in a flat FAISS index: on the first GPU where FAISS sees one, else on the host.

    They are the given rows of each of ``sources``, float32 ``[n, dim]`` and int64, one after the other.
    More than ``LARGEST_FLAT`` on the host are searched approximately, see :class:`models.index_fast.FastSearch`, which
    the last two arguments are for: ``asked`` are queries, float32 ``[q, dim]``, and ``before`` is what these rows were
    sealed in until now.
    """

    def __init__(
        self,
        dim: int,
        sources: Sequence[tuple[Floats, Ints]] = (),
        asked: Floats | None = None,
        before: SealedPart | None = None,
    ) -> None:
        self._host: Any = faiss.IndexFlatIP(dim)
        # A view on what FAISS holds anyway, so that the host keeps one copy only.
        self.vectors = _filled(self._host, sources)
        self._gpu: Any = None
        self._fast: FastSearch | None = None
        if len(self) and faiss.get_num_gpus():
            self._resources = faiss.StandardGpuResources()
            self._resources.setTempMemory(_GPU_SCRATCH_BYTES)
            self._gpu = faiss.index_cpu_to_gpu(self._resources, 0, self._host)
        elif len(self) > LARGEST_FLAT:
            queries = np.empty((0, dim), np.float32) if asked is None else asked
            self._fast = FastSearch(self._host, queries, before._fast if before else None)
        self.largest_norm = float(row_norms(self.vectors).max(initial=0.0))

    def __len__(self) -> int:
        """Return the number of rows, stale ones included."""
        return len(self.vectors)

    @property
    def on_gpu(self) -> bool:
        """Whether searches run on a GPU."""
        return self._gpu is not None

    @property
    def guessed(self) -> bool:
        """Whether some of the queries that decide how it is searched were guessed, because few had been asked."""
        return self._fast is not None and self._fast.guessed

    @property
    def approximate(self) -> FastSearch | None:
        """What searches for few rows go to; None where they are exact."""
        return None if self._fast is None or self._fast.too_low else self._fast

    def search(self, queries: Floats, fetch: int) -> Top:
        """Return the ``fetch`` rows (or all) with the largest float32 inner products."""
        fetch = min(fetch, len(self))
        searcher = self._host if fetch > LARGEST_FETCH else self._gpu or self.approximate or self._host
        scores, rows = searcher.search(queries, fetch)
        return Top(scores, rows, _cut(scores, all_rows=fetch == len(self)))


class Delta:
    """Rows on the host that are appended to until a new sealed part takes them in."""

    def __init__(self, dim: int) -> None:
        self._vectors = np.empty((0, dim), np.float32)
        self._slots = np.empty(0, np.int64)
        self._size = 0
        self.largest_norm = 0.0

    def __len__(self) -> int:
        """Return the number of rows, stale ones included."""
        return self._size

    @property
    def vectors(self) -> Floats:
        """All rows, float32 ``[n, dim]``."""
        return self._vectors[: self._size]

    @property
    def slots(self) -> Ints:
        """The slot of each row."""
        return self._slots[: self._size]

    def append(self, slots: Ints, vectors: Floats) -> None:
        """Add rows at the end."""
        size = self._size + len(slots)
        if size > len(self._slots):
            # Doubling makes the cost of copying constant for each row.
            room = max(size, 2 * self._size)
            old_vectors, old_slots = self.vectors, self.slots
            self._vectors = np.empty((room, vectors.shape[1]), np.float32)
            self._slots = np.empty(room, np.int64)
            self._vectors[: self._size] = old_vectors
            self._slots[: self._size] = old_slots
        self._vectors[self._size : size] = vectors
        self._slots[self._size : size] = slots
        self._size = size
        self.largest_norm = max(self.largest_norm, float(row_norms(vectors).max(initial=0.0)))

    def search(self, queries: Floats, fetch: int) -> Top:
        """Return the ``fetch`` rows (or all) with the largest float32 inner products."""
        fetch = min(fetch, len(self))
        scores, rows = faiss.knn(queries, self.vectors, fetch, metric=faiss.METRIC_INNER_PRODUCT)
        return Top(scores, rows, _cut(scores, all_rows=fetch == len(self)))


def _filled(host: Any, sources: Sequence[tuple[Floats, Ints]]) -> Floats:
    """Put rows of ``sources`` into an empty flat index, and return a view on them, float32 ``[n, dim]``.

    They are copied once, to where they stay: a catalogue of a million has no room for further copies of it.
    """
    count = sum(len(rows) for _, rows in sources)
    if not count:
        return np.empty((0, host.d), np.float32)
    host.codes.resize(count * host.code_size)
    host.ntotal = count
    vectors: Floats = faiss.rev_swig_ptr(host.get_xb(), count * host.d).reshape(count, host.d)
    start = 0
    for source, rows in sources:
        # Any other mode than "raise" writes without a copy in between.
        np.take(source, rows, axis=0, out=vectors[start : start + len(rows)], mode="clip")
        start += len(rows)
    return vectors


def _cut(scores: Floats, *, all_rows: bool) -> Doubles:
    return np.full(len(scores), -np.inf) if all_rows else scores[:, -1].astype(np.float64)


def rounding_bound(queries: Floats, part: Part) -> Doubles:
    """Return how far a float32 inner product with a row of ``part`` may be from the true one, ``[q]``.

    Higham, Accuracy and Stability of Numerical Algorithms, section 3.1: at most n u / (1 - n u) times the
    inner product of the absolute values, which is at most the product of the lengths; u is 2^-24. The
    factor here is more than twice that.
    """
    dim = queries.shape[1]
    lengths: Doubles = row_norms(queries).astype(np.float64) * part.largest_norm
    bound: Doubles = lengths * ((dim + 8) * 2.0**-23)
    return bound
