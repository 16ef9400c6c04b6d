"""By what the points of the map can be coloured: the anomaly score, the error, and attributes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.events import Attribute
from schemas.records import CodeRecord

ANOMALY: Final = "anomaly score"
ERROR: Final = "reconstruction error"
# More colours than these nobody tells apart; the rest is "other".
CATEGORIES: Final = 10
_TITLE: Final = "title"
_MOST_ATTRIBUTES: Final = 12
# Values of an attribute that are told apart while it is not known which are the most frequent.
_MOST_VALUES: Final = 4096
_ATTRIBUTES: Final = msgspec.json.Decoder(dict[str, Attribute])
_NONE, _OTHER, _FIRST = 0, 1, 2
_TOP: Final = 255


class Scale(msgspec.Struct, frozen=True):
    """What the levels of one colouring mean: 0 is nothing.

    A number is at level 1 for ``low`` or less and 255 for ``high`` or more; of categories 1 is any other one, and
    those with ``labels`` begin at 2.
    """

    name: str
    kind: Literal["number", "category"]
    low: float = 0.0
    high: float = 0.0
    labels: list[str] = []


class Colours:
    """Collects what items have, then gives each a level on every scale."""

    def __init__(self) -> None:
        self._numbers: dict[str, list[float]] = {ANOMALY: [], ERROR: []}
        self._values: dict[str, list[int]] = {}
        self._known: dict[str, dict[str, int]] = {}
        self._titles: list[str | None] = []
        self._scales: dict[str, Scale] = {}
        self._levels: dict[str, NDArray[np.uint8]] = {}

    def add(self, attributes: Sequence[bytes], records: Sequence[CodeRecord]) -> None:
        """Take over some items: their attributes, as JSON or empty, and their records."""
        self._numbers[ANOMALY] += [np.nan if record.score is None else record.score for record in records]
        self._numbers[ERROR] += [record.error for record in records]
        before = len(self._titles)
        for place, data in enumerate(attributes, before):
            document = _ATTRIBUTES.decode(data) if data else {}
            title = document.pop(_TITLE, None)
            self._titles.append(title if isinstance(title, str) else None)
            for name, value in document.items():
                self._note(name, value, place)
        for column in self._numbers.values():
            column.extend([np.nan] * (len(self._titles) - len(column)))
        for codes in self._values.values():
            codes.extend([-1] * (len(self._titles) - len(codes)))

    def titles(self, order: Sequence[int]) -> list[str | None]:
        """Return the titles in another order."""
        return [self._titles[place] for place in order]

    def finish(self, order: NDArray[np.int64]) -> None:
        """Divide the scales and bring all into ``order``."""
        for name, column in self._numbers.items():
            self._finish_number(name, np.array(column, np.float32)[order])
        for name, codes in self._values.items():
            # What is a number in some items and a text in others is shown as a number.
            if name not in self._scales:
                self._finish_category(name, np.array(codes, np.int64)[order])
        self._numbers, self._values, self._known = {}, {}, {}

    def scales(self) -> list[Scale]:
        """Return all scales on which items differ, the attributes first."""
        own = (ANOMALY, ERROR)
        return sorted(self._scales.values(), key=lambda scale: (scale.name in own, scale.name))

    def levels(self, name: str) -> NDArray[np.uint8]:
        """Return the level of each item, uint8 ``[n]``.

        Raises:
            KeyError: there is no such scale.
        """
        return self._levels[name]

    def _note(self, name: str, value: Attribute, place: int) -> None:
        if isinstance(value, list):
            value = value[0] if value else None
        if value is None or (name in (ANOMALY, ERROR)):
            return
        if isinstance(value, int | float) and not isinstance(value, bool):
            numbers = self._numbers.get(name)
            if numbers is None:
                if len(self._numbers) >= _MOST_ATTRIBUTES:
                    return
                numbers = self._numbers[name] = []
            numbers.extend([np.nan] * (place - len(numbers)))
            try:
                numbers.append(float(value))
            except OverflowError:
                numbers.append(np.nan)  # An integer that no float holds is not on the scale.
            return
        if name not in self._values:
            if len(self._values) >= _MOST_ATTRIBUTES:
                return
            self._values[name], self._known[name] = [], {}
        known, codes = self._known[name], self._values[name]
        text = value if isinstance(value, str) else str(value).lower()
        codes.extend([-1] * (place - len(codes)))
        codes.append(known.setdefault(text, len(known)) if text in known or len(known) < _MOST_VALUES else _MOST_VALUES)

    def _finish_number(self, name: str, column: NDArray[np.float32]) -> None:
        here = np.isfinite(column)
        if not here.any():
            return
        low, high = (float(value) for value in np.quantile(column[here], (0.01, 0.99)))
        if name == ANOMALY:
            low, high = 0.0, max(high, 1.0)
        if high <= low:
            return
        levels = np.zeros(len(column), np.uint8)
        levels[here] = 1 + np.rint(((column[here] - low) / (high - low)).clip(0, 1) * (_TOP - 1)).astype(np.uint8)
        self._scales[name], self._levels[name] = Scale(name, "number", low, high), levels

    def _finish_category(self, name: str, codes: NDArray[np.int64]) -> None:
        counts = Counter(dict(enumerate(np.bincount(codes[codes >= 0], minlength=1).tolist())))
        texts = list(self._known[name])
        # An attribute that nearly every item has another value of, such as a name, is no category.
        best = [(code, count) for code, count in counts.most_common(CATEGORIES) if code < len(texts) and count > 1]
        if not best:
            return
        table = np.full(_MOST_VALUES + 2, _OTHER, np.uint8)
        table[-1] = _NONE
        for level, (code, _) in enumerate(best, _FIRST):
            table[code] = level
        self._scales[name] = Scale(name, "category", labels=[texts[code] for code, _ in best])
        self._levels[name] = table[codes]
