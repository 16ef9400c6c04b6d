"""How ``--popularity`` was chosen for Gowalla: from figures of other models on its test set, without its pairs.

    python -m tests.benchmarks.gowalla_popularity --data DIR

DIR/valid.npz is a random part of the histories. The published test set is no such thing, as the figures show that are
known of filters on it: on the test set those that favour popular items gain. Suppose a pair of the test set is one of
valid.npz drawn with a probability in proportion to ``n^kappa``, n being the number of users who have the item in
train.npz. Then ``kappa`` follows from the known figures: it is that at which the filters, measured on valid.npz with
these weights, stand to each other as they do on the test set. With it valid.npz tells what popularity is best.

Gain is that of each pair to be found, without the norm of NDCG; only ratios of it are compared.

It gives kappa .40, and for the model at .3 recall and gain of 1.001 and 1.003 of BSPM's; the one run on the test set
then had .983 and 1.002 (with 60 epochs).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from scipy import sparse

from models.arrays import Doubles, Floats, Ints
from models.histories import Histories
from models.interaction import interaction_config
from models.interaction_network import popularity_offsets
from models.interaction_training import train_interactions
from schemas.model_settings import ModelSettings

K: Final = 20
USERS: Final = 4000
# Recall@20 and NDCG@20 on the test set. The first three were measured for this project before, GF-CF and BSPM are
# published (Shen et al. 2021, Choi et al. 2023), the latter with parameters that its authors chose on the test set.
KNOWN: Final = {
    "SVD 256": (0.1638, 0.1381),
    "SVD 512": (0.1763, 0.1470),
    "SVD 1024": (0.1834, 0.1517),
    "GF-CF": (0.1849, 0.1518),
    "BSPM": (0.1920, 0.1597),
}
KAPPAS: Final = np.arange(0, 0.85, 0.05)
POPULARITIES: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
Score = Callable[[Floats], Floats]


class Valid(NamedTuple):
    """Some users: what they have, dense, and each pair to be found with its weight's parts."""

    given: Floats
    users: Ints
    items: Ints
    owners: Doubles  # of the item of each pair
    shares: Doubles  # one by the number of pairs of the user

    def ranks(self, scores: Floats) -> Ints:
        """Return the place of each pair in its user's list, K where it is not among the first K."""
        scores = np.where(self.given > 0, -np.inf, scores)
        best = np.argpartition(-scores, K, axis=1)[:, :K]
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1)
        found = np.take_along_axis(best, order, 1)[self.users] == self.items[:, None]
        return np.where(found.any(axis=1), found.argmax(axis=1), K)

    def figures(self, ranks: Ints, kappa: float) -> Doubles:
        """Return recall and discounted gain with the weights of ``kappa``."""
        weights = np.maximum(self.owners, 0.3) ** kappa * self.shares
        gains = np.stack([ranks < K, (ranks < K) / np.log2(ranks + 2.0)])
        figures: Doubles = gains @ weights / weights.sum()
        return figures


def main() -> None:
    """Print how the filters fit, and what the model has with each popularity."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dim", type=int, default=192)
    parser.add_argument("--epochs", type=int, default=40)
    options = parser.parse_args()
    train, held = (_matrix(options.data / name) for name in ("train.npz", "valid.npz"))
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(np.diff(held.indptr)))[:USERS]
    pairs = held[chosen].tocoo()
    owners = np.asarray(train.sum(axis=0)).ravel()
    valid = Valid(
        train[chosen].toarray(),
        pairs.row,
        pairs.col,
        owners[pairs.col].astype(np.float64),
        1 / np.bincount(pairs.row)[pairs.row],
    )
    ranks = {name: valid.ranks(score(valid.given)) for name, score in _filters(train).items()}
    kappa = _fitted(valid, ranks)
    _print_known(valid, ranks, kappa)

    histories = Histories(
        train.indptr.astype(np.int64), train.indices.astype(np.int64), train.data, np.zeros(train.nnz)
    )
    settings = ModelSettings(interaction_kind="contrastive", user_dim=options.dim)
    config = interaction_config(settings)
    network = train_interactions(
        histories,
        train.shape[1],
        config,
        epochs=options.epochs,
        seed=0,
        report_trial=_report,
        report_final=_report,
    ).network
    codes, vectors = network.user_codes(histories.take(chosen)), network.retrieval
    scores = codes @ vectors[:, :-1].T + vectors[:, -1]
    best = valid.figures(ranks["BSPM"], kappa)
    for popularity in POPULARITIES:
        found = valid.ranks(scores + popularity_offsets(config, owners.astype(np.int64), popularity))
        plain, ratio = valid.figures(found, 0), valid.figures(found, kappa) / best
        print(f"{popularity:.1f}: {plain[0]:.4f} {plain[1]:.4f}, weighted, of BSPM's: {ratio[0]:.3f} {ratio[1]:.3f}")


def _matrix(path: Path) -> Any:
    loaded: Any = sparse.load_npz(path)
    matrix = loaded.tocsr().astype(np.float32)
    matrix.data[:] = 1
    matrix.sort_indices()
    return matrix


def _normalised(train: Any, added: float) -> Any:
    rows, columns = (np.maximum(np.asarray(train.sum(axis=axis)).ravel() + added, 1) for axis in (1, 0))
    return (sparse.diags(rows**-0.5) @ train @ sparse.diags(columns**-0.5)).tocsr().astype(np.float32)


def _svd(matrix: Any, rank: int) -> tuple[Floats, Floats]:
    """Return the largest singular values and their right vectors, by the random range finder of Halko et al. 2011."""
    start = np.random.default_rng(0).standard_normal((matrix.shape[1], rank + 64), dtype=np.float32)
    basis = matrix @ start
    for _ in range(2):
        basis = matrix @ np.linalg.qr(matrix.T @ basis)[0]
    basis = np.linalg.qr(basis)[0]
    _, values, rows = np.linalg.svd((matrix.T @ basis).T, full_matrices=False)
    return values[:rank], rows[:rank]


def _filters(train: Any) -> dict[str, Score]:
    """Return the five linear filters of :data:`KNOWN`, with the parameters that their figures were had with."""
    owners = np.asarray(train.sum(axis=0)).ravel().astype(np.float32)
    values, rows = _svd(_normalised(train, 3), 1024)

    def truncated(rank: int) -> Score:
        inner = rows[:rank].T * (owners[:, None] + 3) ** -0.5
        outer = np.exp(4 * values[:rank] ** 2)[:, None] * rows[:rank] * np.maximum(owners, 0.1) ** 0.2
        return lambda given: ((given @ inner) @ outer).astype(np.float32)

    both = _normalised(train, 0)
    back, roots = both.T.tocsr(), np.sqrt(np.maximum(owners, 1))
    _, smooth = _svd(both, 448)

    def neighbours(given: Floats) -> Floats:
        return np.asarray((back @ (both @ given.T)).T)

    def low_pass(given: Floats, rank: int) -> Floats:
        return np.asarray(((given / roots) @ smooth[:rank].T) @ smooth[:rank] * roots)

    def gf_cf(given: Floats) -> Floats:
        return neighbours(given) + 0.3 * low_pass(given, 256)

    def bspm(given: Floats) -> Floats:
        # One Runge-Kutta step of sharpening, dy/dt = -neighbours(y), over a time of 2.5.
        term = total = neighbours(given) + 0.2 * low_pass(given, 448)
        for order in (1, 2, 3, 4):
            term = neighbours(term) * np.float32(-2.5 / order)
            total = total + term
        return total

    return {"SVD 256": truncated(256), "SVD 512": truncated(512), "SVD 1024": truncated(1024)} | {
        "GF-CF": gf_cf,
        "BSPM": bspm,
    }


def _fitted(valid: Valid, ranks: dict[str, Ints]) -> float:
    """Return the kappa at which the filters' figures, as shares of BSPM's, are nearest to the known ones."""

    def error(kappa: float) -> float:
        best = valid.figures(ranks["BSPM"], kappa)
        ratios = [valid.figures(ranks[name], kappa) / best for name in KNOWN]
        wanted = [np.divide(KNOWN[name], KNOWN["BSPM"]) for name in KNOWN]
        return float(np.sum(np.log(np.divide(ratios, wanted)) ** 2))

    return float(min(KAPPAS, key=error))


def _print_known(valid: Valid, ranks: dict[str, Ints], kappa: float) -> None:
    print(f"kappa {kappa:.2f}; shares of BSPM's recall and NDCG, on valid.npz without weights, with them, and known")
    for name, known in KNOWN.items():
        shares = [valid.figures(ranks[name], each) / valid.figures(ranks["BSPM"], each) for each in (0, kappa)]
        shares.append(np.divide(known, KNOWN["BSPM"]))
        print(f"{name:9}", "   ".join(f"{recall:.3f} {ndcg:.3f}" for recall, ndcg in shares))


def _report(done: int, total: int, note: str) -> None:
    print(f"{done}/{total} {note}", end="\r" if done < total else "\n")


if __name__ == "__main__":
    main()
