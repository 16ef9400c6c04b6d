"""What a model is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from models.arrays import Floats, Mask
from models.histories import Interactions

# Fewer tell nothing: neither features nor interactions of so few items are trained on.
MIN_ITEMS: Final = 20


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Everything to train on.

    Args:
        item_ids: n ids.
        features: float32 ``[n, prod(input_shape)]``, None where no item has any.
        has_features: which rows of ``features`` count, bool ``[n]``.
        input_shape: shape of one item's features, None where ``features`` is.
        published: whether the items came as item events. If not, those of the interactions are the catalogue.
        interactions: their items are indices into ``item_ids``.
        offsets: up to where the topics were read: topic -> partition -> next offset.
    """

    item_ids: list[str]
    features: Floats | None
    has_features: Mask
    input_shape: tuple[int, ...] | None
    published: bool
    interactions: Interactions | None
    offsets: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
