"""Approximate search on the host among more rows than can all be multiplied: inverted lists of four-bit codes.

Rows lie in lists by the nearest of about 4 sqrt(n) centres. Of the lists whose centres are nearest to a query all
rows are compared by codes of half a byte a dimension, which FAISS adds up in vector registers (André, Kermarrec and
Le Scouarnec 2015, "Cache locality is not enough"); the best few are compared again by their float32 vectors. How many
lists that must be follows from queries that were asked: it is raised until their recall is high enough.

``latentstream bench index`` compares this with other kinds. On two cores, of 100,000 GloVe vectors, at recall@10 of
.99 and with 64 queries a call: exact 3,300 queries a second, inverted lists of float32 vectors 4,400, HNSW 1,800,
RaBitQ with 4 bits a dimension 950, this 11,500. Of 398,000, residuals to the centres (``by_residual``) need 355 lists
where the codes of whole vectors need 444; pieces of two dimensions (half the bytes) do not reach that recall.
"""

from __future__ import annotations

from typing import Any, Final

import faiss
import numpy as np

from models.arrays import Floats, Ints

# Of the ten best after the very best: what is asked about is often an item, which finds itself in any case.
_MEASURED: Final = 10
# What is aimed at is a little more than what is promised, .99, so that queries that were not measured reach that too.
_AIM: Final = 0.993
MEASURED_QUERIES: Final = 512
_FIRST_LISTS: Final = 8
_MORE_LISTS: Final = 1.25
# Candidates that are compared again by their vectors, for each one that is wanted; more where the fewer do not do.
_REFINED: Final = (4, 16)
_CODE_BITS: Final = 4
# Rows a list to learn the centres from; FAISS takes 39 for the fewest that do.
_TRAINED_ROWS: Final = 64
_FEWEST_ROWS: Final = 39
# A float32 score computed in another order may differ by so much of it.
_SAME: Final = 1e-5


class FastSearch:
    """Approximate search among the rows of a flat index, which it needs for the last comparison and does not copy.

    ``recall`` is the share of the ten best (after the very best) that is found, the mean over the queries that it was
    measured with, and ``probed`` how many lists are looked into for it. Where it is ``too_low`` with half of the lists,
    the rows are better compared one by one. ``index`` is the FAISS index; it was ``guessed`` how to ask it where rows
    stood in for queries.

    Args:
        flat: a FAISS index ``IndexFlatIP`` with many rows, that stays as it is.
        queries: float32 ``[q, dim]``, such as will be asked; where there are few, rows stand in for them.
        before: the search among earlier rows; its centres serve again, unless there are twice or half as many rows now.
    """

    def __init__(self, flat: Any, queries: Floats, before: FastSearch | None = None) -> None:
        rng = np.random.default_rng(0)
        rows = _rows(flat)
        self._empty: Any
        self._trained_rows: int
        if before is not None and before._trained_rows / 2 < len(rows) < 2 * before._trained_rows:
            self._empty, self._trained_rows = before._empty, before._trained_rows
        else:
            self._empty, self._trained_rows = _trained(rows, rng), len(rows)
        self._flat = flat
        self._lists: Any = faiss.clone_index(self._empty)
        self._lists.add(rows)
        self.index: Any = faiss.IndexRefine(self._lists, flat)
        missing = max(MEASURED_QUERIES - len(queries), 0)
        self.guessed = missing > 0
        stand_ins = rows[np.sort(rng.choice(len(rows), min(missing, len(rows)), replace=False))]
        self.recall = self._tune(np.concatenate([queries[:MEASURED_QUERIES], stand_ins]))
        self.too_low = self.recall < _AIM
        if self.too_low:
            self._lists.reset()

    def search(self, queries: Floats, fetch: int) -> tuple[Floats, Ints]:
        """Return scores and rows of the ``fetch`` best that were found, float32 and int64 ``[q, fetch]``.

        Queries whose lists have fewer rows are searched exactly.
        """
        scores, rows = self._search(queries, fetch)
        short = np.flatnonzero(rows[:, -1] < 0)
        if len(short):
            scores[short], rows[short] = self._flat.search(queries[short], fetch)
        return scores, rows

    def _search(self, queries: Floats, fetch: int) -> tuple[Floats, Ints]:
        # Settings go with the call: those of the index belong to all threads.
        lists: Any = faiss.SearchParametersIVF()
        lists.nprobe = self.probed
        settings: Any = faiss.IndexRefineSearchParameters()
        settings.k_factor, settings.base_index_params = self._refine, lists
        found: tuple[Floats, Ints] = self.index.search(queries, fetch, params=settings)
        return found

    def _tune(self, queries: Floats) -> float:
        """Look into as many lists as ``queries`` need, but no more than half; return the recall with them."""
        depth = _MEASURED + 1
        exact = self._flat.search(queries, depth)[0]
        least = exact[:, -1] - _SAME * np.abs(exact).max(axis=1)
        most = max(self._lists.nlist // 2, 1)
        recall = 0.0
        for self._refine in _REFINED:
            lists = float(_FIRST_LISTS)
            self.probed = 0
            while recall < _AIM and self.probed < most:
                self.probed = min(int(lists), most)
                scores, rows = self._search(queries, depth)
                # By score, so that one of several equal rows is as good as another.
                good = np.count_nonzero((rows >= 0) & (scores >= least[:, None]), axis=1)
                recall = float(np.mean(np.maximum(good - 1, 0) / (depth - 1)))
                lists *= _MORE_LISTS
            if recall >= _AIM:
                break
        return recall


def list_count(rows: int) -> int:
    """Return into how many lists so many rows are best divided."""
    return max(min(int(4 * rows**0.5), rows // _FEWEST_ROWS), 1)


def _rows(flat: Any) -> Floats:
    """Return a view on the vectors of a flat index, float32 ``[n, dim]``."""
    vectors: Floats = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, flat.d)
    return vectors


def _trained(rows: Floats, rng: np.random.Generator) -> Any:
    """Return empty inverted lists, with centres and codes learned from ``rows``."""
    dim = rows.shape[1]
    lists = list_count(len(rows))
    index = faiss.IndexIVFPQFastScan(faiss.IndexFlatIP(dim), dim, lists, dim, _CODE_BITS, faiss.METRIC_INNER_PRODUCT)
    index.by_residual = True
    # The largest inner product with a centre means the nearest one only where all centres are as long.
    index.cp.spherical = True
    index.cp.max_points_per_centroid = _TRAINED_ROWS
    chosen = rng.choice(len(rows), min(_TRAINED_ROWS * lists, len(rows)), replace=False)
    index.train(rows[np.sort(chosen)])
    return index
