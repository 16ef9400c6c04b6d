"""From events to the arrays that a model is trained on: the state that a stream of events leaves behind."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.arrays import Floats, Ints, Mask
from models.training import Interactions, TrainingData
from schemas.events import DISMISS, ItemEvent
from workers.decoding import Interaction, ItemChange
from workers.spill import Spill

_NO_SHAPE: Final[tuple[int, ...]] = ()
_TOUCH: Final = np.dtype([("user", np.int64), ("item", np.int64), ("weight", np.float32), ("time", np.float64)])
_FLOAT: Final = np.dtype(np.float32)


class _Item(NamedTuple):
    """Where the features of an item lie, if it has any, and whether it can be had."""

    shape: tuple[int, ...]
    row: int
    available: bool


class DatasetBuilder:
    """Folds changes in their order; the last one of each item and of each (user, item) counts.

    Features and interactions go to files in ``directory``, which its owner removes when nothing of what was built is
    used any more; ids stay in memory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._items: dict[str, _Item] = {}
        self._features: dict[tuple[int, ...], Spill] = {}
        self._touches = Spill(directory / "interactions", _TOUCH)
        # Every id that was in an interaction, by the order of the first.
        self._users: dict[str, int] = {}
        self._touched: dict[str, int] = {}
        self.bad_events = 0

    def add_item(self, change: ItemChange) -> None:
        """Take over an item, or forget a deleted one."""
        self._items.pop(change.item_id, None)
        if change.event is None:
            return
        shape, row = _shape(change), -1
        if change.vector is not None:
            if shape not in self._features:
                path = self._directory / f"features-{len(self._features)}"
                self._features[shape] = Spill(path, _FLOAT, change.vector.shape)
            row = self._features[shape].append(change.vector)
        self._items[change.item_id] = _Item(shape, row, change.event.available)

    def add_interaction(self, interaction: Interaction) -> None:
        """Take over an interaction; one that is retracted or dismissed takes the place of the one before."""
        user = self._users.setdefault(interaction.user_id, len(self._users))
        item = self._touched.setdefault(interaction.item_id, len(self._touched))
        weight = 0.0 if interaction.kind == DISMISS else interaction.weight
        self._touches.append(np.array((user, item, weight, interaction.timestamp), _TOUCH))

    def build(self, offsets: dict[str, dict[int, int]]) -> TrainingData:
        """Return the arrays; ``offsets`` says up to where the topics were read. To be called once, at the end.

        Items whose features have another shape than most are trained on without them. Without any item
        event, the items are those of the interactions.
        """
        touches = self._last_touches()
        shapes = Counter(item.shape for item in self._items.values() if item.shape)
        input_shape = shapes.most_common(1)[0][0] if shapes else None
        item_ids = list(self._items) or self._touched_names(touches["item"])
        has_features = np.zeros(len(item_ids), bool)
        features = None
        if input_shape is not None:
            has_features = np.array([item.shape == input_shape for item in self._items.values()])
            features = self._in_order(input_shape, has_features)
        self.close()
        return TrainingData(
            item_ids=item_ids,
            features=features,
            has_features=has_features,
            input_shape=input_shape,
            published=bool(self._items),
            interactions=self._interactions(touches, item_ids),
            offsets=offsets,
        )

    @property
    def unavailable(self) -> set[str]:
        """The items that are kept and not recommended."""
        return {name for name, item in self._items.items() if not item.available}

    def close(self) -> None:
        """Close the files."""
        for spill in (self._touches, *self._features.values()):
            spill.close()

    def _last_touches(self) -> NDArray[Any]:
        """Return the last interaction of each user and item, in the order of arrival, without those of weight 0."""
        touches = self._touches.read()
        pairs: Ints = touches["user"] * max(len(self._touched), 1) + touches["item"]
        _, from_the_end = np.unique(pairs[::-1], return_index=True)
        last = touches[np.sort(len(pairs) - 1 - from_the_end)]
        return last[last["weight"] > 0]

    def _touched_names(self, items: Ints) -> list[str]:
        numbers, first = np.unique(items, return_index=True)
        names = list(self._touched)
        return [names[number] for number in numbers[np.argsort(first)].tolist()]

    def _in_order(self, shape: tuple[int, ...], has_features: Mask) -> Floats:
        """Return the features in the order of the items, as a file of their own; zeros where an item has none."""
        rows = np.array([item.row for item in self._items.values()])
        stored, ordered = (
            self._features[shape].read(),
            Spill(self._directory / "features", _FLOAT, (int(np.prod(shape)),)),
        )
        nothing = np.zeros(int(np.prod(shape)), np.float32)
        for row, has in zip(rows.tolist(), has_features.tolist(), strict=True):
            ordered.append(stored[row] if has else nothing)
        features: Floats = ordered.read()
        ordered.close()
        return features

    def _interactions(self, touches: NDArray[Any], item_ids: list[str]) -> Interactions | None:
        rows = {name: row for row, name in enumerate(item_ids)}
        item_rows = np.array([rows.get(name, -1) for name in self._touched], np.int64)
        touches = touches[item_rows[touches["item"]] >= 0]
        if not len(touches):
            return None
        _, users = np.unique(touches["user"], return_inverse=True)
        return Interactions(
            users=users.astype(np.int64),
            items=item_rows[touches["item"]],
            weights=np.ascontiguousarray(touches["weight"]),
            timestamps=np.ascontiguousarray(touches["time"]),
        )


def _shape(change: ItemChange) -> tuple[int, ...]:
    """Return the shape of an item's features, empty where it has none."""
    if change.vector is None:
        return _NO_SHAPE
    event = change.event
    if isinstance(event, ItemEvent) and event.image is not None:
        return tuple(event.image.shape)
    return (len(change.vector),)
