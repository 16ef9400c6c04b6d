"""From events to the arrays that a model is trained on: the state that a stream of events leaves behind."""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np

from models.training import Interactions, TrainingData
from schemas.events import DISMISS, ItemEvent
from workers.decoding import Interaction, ItemChange

_NO_SHAPE: Final[tuple[int, ...]] = ()


class DatasetBuilder:
    """Folds changes in their order; the last one of each item and of each (user, item) counts."""

    def __init__(self) -> None:
        self._items: dict[str, ItemChange] = {}
        self._touches: dict[tuple[str, str], Interaction] = {}
        self.bad_events = 0

    def add_item(self, change: ItemChange) -> None:
        """Take over an item, or forget a deleted one."""
        if change.event is None:
            self._items.pop(change.item_id, None)
        else:
            # Without its record, whose bytes nobody needs any more.
            self._items[change.item_id] = change._replace(record=None)

    def add_interaction(self, interaction: Interaction) -> None:
        """Take over an interaction, or forget one that is retracted or dismissed."""
        pair = interaction.user_id, interaction.item_id
        self._touches.pop(pair, None)
        if interaction.weight > 0 and interaction.kind != DISMISS:
            self._touches[pair] = interaction

    def build(self, offsets: dict[str, dict[int, int]]) -> TrainingData:
        """Return the arrays; ``offsets`` says up to where the topics were read.

        Items whose features have another shape than most are trained on without them. Without any item
        event, the items are those of the interactions.
        """
        shapes = Counter(shape for change in self._items.values() if (shape := _shape(change)))
        input_shape = shapes.most_common(1)[0][0] if shapes else None
        item_ids = list(self._items) or list(dict.fromkeys(item for _, item in self._touches))
        has_features = (
            np.fromiter(
                (bool(shapes) and _shape(self._items[name]) == input_shape for name in item_ids), bool, len(item_ids)
            )
            if self._items
            else np.zeros(len(item_ids), bool)
        )
        features = None
        if input_shape is not None:
            features = np.zeros((len(item_ids), int(np.prod(input_shape))), np.float32)
            for row in np.flatnonzero(has_features):
                features[row] = self._items[item_ids[row]].vector
        return TrainingData(
            item_ids=item_ids,
            features=features,
            has_features=has_features,
            input_shape=input_shape,
            published=bool(self._items),
            interactions=self._interactions(item_ids),
            offsets=offsets,
        )

    def _interactions(self, item_ids: list[str]) -> Interactions | None:
        rows = {name: row for row, name in enumerate(item_ids)}
        users: dict[str, int] = {}
        kept = [touch for touch in self._touches.values() if touch.item_id in rows]
        if not kept:
            return None
        return Interactions(
            users=np.array([users.setdefault(touch.user_id, len(users)) for touch in kept], np.int64),
            items=np.array([rows[touch.item_id] for touch in kept], np.int64),
            weights=np.array([touch.weight for touch in kept], np.float32),
            timestamps=np.array([touch.timestamp for touch in kept], np.float64),
        )


def _shape(change: ItemChange) -> tuple[int, ...]:
    """Return the shape of an item's features, empty where it has none."""
    if change.vector is None:
        return _NO_SHAPE
    event = change.event
    if isinstance(event, ItemEvent) and event.image is not None:
        return tuple(event.image.shape)
    return (len(change.vector),)
