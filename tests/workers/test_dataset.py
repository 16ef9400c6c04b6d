"""What a model is trained on, from interactions in their order."""

from __future__ import annotations

from workers.dataset import DatasetBuilder
from workers.decoding import Interaction


def test_what_was_retracted_or_dismissed_is_not_trained_on() -> None:
    builder = DatasetBuilder()
    for user, item, kind, weight in [
        ("anna", "a", "view", 1.0),
        ("anna", "b", "view", 1.0),
        ("anna", "c", "view", 1.0),
        ("anna", "b", "dismiss", 1.0),
        ("anna", "c", "view", 0.0),
        ("bert", "d", "dismiss", 1.0),
        ("bert", "e", "dismiss", 1.0),
        ("bert", "e", "buy", 3.0),
    ]:
        builder.add_interaction(Interaction(user, item, kind, weight, 0.0, 0))
    data = builder.build({})
    assert data.item_ids == ["a", "e"]
    assert data.interactions is not None
    assert data.interactions.weights.tolist() == [1.0, 3.0]
