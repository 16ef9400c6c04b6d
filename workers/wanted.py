"""What a list may hold, and what came out: the words in which recommendations are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.documents import Reasons
from schemas.filters import Filter

# A float32 score has about 7 digits; 6 are enough to order by and shorter to store.
SCORE_DIGITS: Final = 6
# Powers of ten that a float64 has exactly, so that a whole number divided by one is the nearest to that decimal number.
_POWERS: Final = np.array([float(f"1e{exponent}") for exponent in range(23)])


@dataclass(frozen=True, slots=True)
class Wanted:
    """What may stand in one list: ``k`` items that match ``filter`` and are not among ``exclude``.

    ``diversity`` is that of :mod:`models.diversity`. At most ``per_category`` items have the same value of the
    attribute ``category``: both are given, or neither is. ``explain`` items of the history are named for each item.
    """

    k: int
    filter: Filter | None = None
    exclude: frozenset[str] = frozenset()
    diversity: float = 0.0
    category: str | None = None
    per_category: int | None = None
    explain: int = 0

    @property
    def plain(self) -> bool:
        """Whether the list is just the best items."""
        return self.diversity == 0 and self.category is None


@dataclass(slots=True)
class Ranked:
    """Items, best first, and the user code that ranked them (empty where no item of the history is known).

    ``because`` and ``biases`` are as in :class:`schemas.documents.Recommendations`; None where nothing is explained.
    """

    items: list[str]
    scores: list[float]
    code: bytes = b""
    because: list[Reasons] | None = None
    biases: list[float] | None = None


def rounded(scores: NDArray[np.floating]) -> list[float]:
    """Return ``scores``, ``[n]``, with as many digits as are kept: as ``float(f"{score:.6g}")`` each."""
    wide = np.asarray(scores, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        places = SCORE_DIGITS - 1 - np.floor(np.log10(np.abs(wide)))
    usual = (places >= 0) & (places < len(_POWERS))
    powers = _POWERS[np.where(usual, places, 0).astype(np.int64)]
    found: list[float] = (np.rint(wide * powers) / powers).tolist()
    for row in np.flatnonzero(~usual).tolist():
        found[row] = float(f"{wide[row]:.{SCORE_DIGITS}g}")
    return found
