"""Why an item is in a list: the items of the history that contributed most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.explanations import contributions
from models.space import LatentSpace
from schemas.documents import Reasons
from workers.catalogue import Catalogue
from workers.wanted import rounded


class Explained(NamedTuple):
    """For each item of a list its reasons, and its bias."""

    because: list[Reasons]
    biases: list[float]


def explained(
    space: LatentSpace,
    catalogue: Catalogue,
    history: Sequence[tuple[str, float]],
    slots: NDArray[np.int64],
    count: int,
) -> Explained:
    """Return the ``count`` items of ``history`` that contributed most to each of ``slots``, the largest first."""
    known, embeddings = catalogue.embeddings([item for item, _ in history])
    seen = [one for one, here in zip(history, known, strict=True) if here]
    weights = np.array([weight for _, weight in seen], np.float32)
    retrieval = catalogue.retrieval_vectors(slots)
    added = contributions(space, embeddings[known], weights, retrieval)
    # What an anonymous visitor looked at twice counts twice, and is named once.
    names = list(dict.fromkeys(item for item, _ in seen))
    places = {name: place for place, name in enumerate(names)}
    by_name = np.zeros((len(names), len(slots)))
    np.add.at(by_name, [places[item] for item, _ in seen], added)
    best = np.argsort(-by_name, axis=0, kind="stable")[:count]
    amounts = np.take_along_axis(by_name, best, axis=0).T
    kept = iter(rounded(amounts.ravel()))
    because = [[(names[place], next(kept)) for place in order] for order in best.T.tolist()]
    return Explained(because, rounded(retrieval[:, -1]))
