"""What a list may hold, and what came out: the words in which recommendations are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.documents import Reasons
from schemas.filters import Filter

# A float32 score has about 7 digits; 6 are enough to order by and shorter to store.
SCORE_DIGITS = 6


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


def rounded(scores: Iterable[float]) -> list[float]:
    """Return ``scores`` with as many digits as are kept."""
    return [float(f"{score:.{SCORE_DIGITS}g}") for score in scores]
