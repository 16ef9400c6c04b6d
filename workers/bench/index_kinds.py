"""``latentstream bench index``: kinds of FAISS indexes on the same vectors, as fast as each finds .99 of the ten best.

How hard a kind must look is raised step by step until half of the held-out queries have that recall; what is reported
is the recall of the other half. Each kind is asked for 26 rows, as the index asks for lists of ten.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import faiss
import msgspec
import numpy as np

from models.arrays import Floats, Ints, unit_rows
from models.index_fast import FastSearch, list_count
from workers.bench.index_live import Live, measure_live
from workers.datasets import DatasetMissing, glove

_QUERIES: Final = 2_048
_PER_CALL: Final = (1, 64, 1_024)
_REPETITIONS: Final = 5
_REPETITION_S: Final = 0.5
# What :class:`models.index.LatentIndex` asks a part for where ten are wanted.
_FETCH: Final = 26
_AIM: Final = 0.993
_STEP: Final = 1.25
_HNSW_LINKS: Final = 32
_REFINED: Final = 4
_RABITQ_BITS: Final = 4
_CLUSTERS: Final = 1_000
_CLUSTER_RADIUS: Final = 0.5


class Rate(msgspec.Struct, frozen=True):
    """Queries a second with so many in each call: the median of five repetitions, the slowest and the fastest."""

    per_call: int
    median: float
    min: float
    max: float


class Kind(msgspec.Struct, frozen=True):
    """A kind of index. ``bytes_a_vector`` has all it needs, float32 vectors for the last comparison included."""

    name: str
    setting: str
    build_s: float
    bytes_a_vector: float
    recall_at_10: float
    recall_at_100: float
    rates: list[Rate]


class Size(msgspec.Struct, frozen=True):
    """The kinds on so many vectors, and our index with all that it does."""

    vectors: int
    kinds: list[Kind]
    ours: Live


class Result(msgspec.Struct, frozen=True):
    """All that was measured. ``data`` says what the vectors are."""

    data: str
    dim: int
    sizes: list[Size]


class _Held(NamedTuple):
    """Vectors and queries; the queries to set a kind with, and those to report, with their 100 best rows."""

    vectors: Floats
    tuning: Floats
    tuning_best: Ints
    queries: Floats
    best: Ints


class _Built(NamedTuple):
    """An index and how it is set: ``set_to`` takes one of ``levels``, each looks harder than the one before."""

    index: Any
    search: Callable[[Floats, int], tuple[Floats, Ints]]
    levels: Sequence[int]
    set_to: Callable[[int], None]
    setting: str


def measure(sizes: Sequence[int], dim: int, say: Callable[[str], None]) -> Result:
    """Measure all kinds with each number of vectors."""
    data, vectors = _vectors(max(sizes) + _QUERIES, dim, say)
    found = []
    for size in sizes:
        held = _held(vectors[_QUERIES : _QUERIES + size], vectors[:_QUERIES])
        kinds = []
        for name, build in _KINDS.items():
            kinds.append(_measured(name, build, held))
            say(f"{size:,} vectors: {name}, {kinds[-1].setting}: {kinds[-1].rates[1].median:,.0f} queries/s, 64 a call")
        say(f"{size:,} vectors: our index, filled, searched and rebuilt")
        found.append(Size(size, kinds, measure_live(held.vectors, held.queries)))
    return Result(data, dim, found)


def _vectors(count: int, dim: int, say: Callable[[str], None]) -> tuple[str, Floats]:
    """Return what they are, and vectors of length 1 in random order, float32 ``[count, dim]``."""
    rng = np.random.default_rng(0)
    try:
        words = glove.load()
        if dim == words.shape[1] and count <= len(words):
            return "GloVe, cosine", unit_rows(words[rng.permutation(len(words))[:count]])
        reason = f"GloVe has {len(words):,} vectors of {words.shape[1]} dimensions"
    except DatasetMissing as error:
        reason = str(error)
    say(f"Generated vectors, not GloVe: {reason}")
    centres = rng.normal(size=(_CLUSTERS, dim))
    near = centres[rng.integers(0, _CLUSTERS, count)] + rng.normal(0, _CLUSTER_RADIUS, (count, dim))
    return f"generated, {_CLUSTERS:,} clusters, cosine", unit_rows(near.astype(np.float32))


def _held(vectors: Floats, queries: Floats) -> _Held:
    flat = _flat(vectors)
    best: Ints = flat.search(queries, 100)[1]
    half = len(queries) // 2
    return _Held(vectors, queries[:half], best[:half], queries[half:], best[half:])


def _measured(name: str, build: Callable[[_Held], _Built], held: _Held) -> Kind:
    began = time.perf_counter()
    built = build(held)
    build_s = time.perf_counter() - began
    level = 0
    for level in built.levels:
        built.set_to(level)
        if _recall(built.search(held.tuning, _FETCH)[1], held.tuning_best, 10) >= _AIM:
            break
    return Kind(
        name,
        built.setting.format(level=level),
        round(build_s, 2),
        round(len(faiss.serialize_index(built.index)) / len(held.vectors), 1),
        round(_recall(built.search(held.queries, _FETCH)[1], held.best, 10), 4),
        round(_recall(built.search(held.queries, 100)[1], held.best, 100), 4),
        [_rate(built, held.queries, per_call) for per_call in _PER_CALL],
    )


def _recall(found: Ints, best: Ints, k: int) -> float:
    hits = [len(np.intersect1d(own[:k], wanted[:k])) for own, wanted in zip(found, best, strict=True)]
    return float(np.mean(hits) / k)


def _rate(built: _Built, queries: Floats, per_call: int) -> Rate:
    rates = []
    for _ in range(_REPETITIONS):
        began, asked = time.perf_counter(), 0
        while (took := time.perf_counter() - began) < _REPETITION_S:
            first = asked % (len(queries) - per_call + 1)
            built.search(queries[first : first + per_call], _FETCH)
            asked += per_call
        rates.append(round(asked / took, 1))
    return Rate(per_call, float(np.median(rates)), min(rates), max(rates))


def _flat(vectors: Floats) -> Any:
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    return flat


def _build_flat(held: _Held) -> _Built:
    flat = _flat(held.vectors)
    return _Built(flat, flat.search, [], _ignore, "exact")


def _build_lists(held: _Held) -> _Built:
    dim, lists = held.vectors.shape[1], list_count(len(held.vectors))
    index: Any = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
    _fill(index, held.vectors)
    return _Built(index, index.search, list(_levels(8, lists // 2)), _setter(index, "nprobe"), "nprobe {level}")


def _build_rabitq(held: _Held) -> _Built:
    dim, lists = held.vectors.shape[1], list_count(len(held.vectors))
    centres = faiss.IndexFlatIP(dim)
    index: Any = faiss.IndexIVFRaBitQ(centres, dim, lists, faiss.METRIC_INNER_PRODUCT, True, _RABITQ_BITS)
    _fill(index, held.vectors)
    refined: Any = faiss.IndexRefine(index, _flat(held.vectors))
    refined.k_factor = _REFINED
    setting = f"{_RABITQ_BITS} bits, nprobe {{level}}"
    return _Built(refined, refined.search, list(_levels(8, lists // 2)), _setter(index, "nprobe"), setting)


def _fill(index: Any, vectors: Floats) -> None:
    index.cp.spherical = True
    index.cp.max_points_per_centroid = 64
    index.train(vectors)
    index.add(vectors)


def _setter(index: Any, name: str) -> Callable[[int], None]:
    def set_to(level: int) -> None:
        setattr(index, name, level)

    return set_to


def _build_ours(held: _Held) -> _Built:
    flat = _flat(held.vectors)
    fast = FastSearch(flat, held.tuning)
    what = "stays exact: recall" if fast.too_low else "nprobe"
    search = flat.search if fast.too_low else fast.search
    return _Built(fast.index, search, [], _ignore, f"{what} {fast.recall if fast.too_low else fast.probed}")


def _build_hnsw(held: _Held) -> _Built:
    index: Any = faiss.IndexHNSWFlat(held.vectors.shape[1], _HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
    index.add(held.vectors)
    setting = f"M {_HNSW_LINKS}, efSearch {{level}}"
    return _Built(index, index.search, list(_levels(32, 4_096)), _setter(index.hnsw, "efSearch"), setting)


def _ignore(_level: int) -> None:
    """Nothing is to be set."""


def _levels(first: int, last: int) -> Iterator[int]:
    level = float(first)
    while level < last:
        yield int(level)
        level *= _STEP
    yield last


_KINDS: Final[dict[str, Callable[[_Held], _Built]]] = {
    "flat": _build_flat,
    "IVF flat": _build_lists,
    "PQ fast-scan, refined (ours)": _build_ours,
    "HNSW": _build_hnsw,
    "RaBitQ, refined": _build_rabitq,
}
