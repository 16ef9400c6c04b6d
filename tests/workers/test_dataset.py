"""What a model is trained on, from interactions in their order."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from models.arrays import Floats
from schemas.events import ItemEvent
from workers.dataset import DatasetBuilder
from workers.decoding import Interaction, ItemChange


def test_what_was_retracted_or_dismissed_is_not_trained_on(tmp_path: Path) -> None:
    builder = DatasetBuilder(tmp_path)
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


def item(name: str, vector: Floats | None, *, available: bool = True) -> ItemChange:
    features = None if vector is None else vector.tolist()
    return ItemChange(name, ItemEvent(name, features=features, available=available), vector)


def test_features_are_those_of_the_last_event_of_each_item(tmp_path: Path) -> None:
    """Against a dictionary in memory; more rows than one buffer holds, some items deleted, bare or of another shape."""
    rng, arrays = random.Random(0), np.random.default_rng(0)
    builder = DatasetBuilder(tmp_path)
    expected: dict[str, Floats | None] = {}
    gone: set[str] = set()
    for _ in range(6_000):
        name = f"item-{rng.randrange(2_000)}"
        expected.pop(name, None)
        gone.discard(name)
        kind = rng.random()
        if kind < 0.1:
            builder.add_item(ItemChange(name, None, None))
            continue
        width = 50 if kind < 0.8 else 3
        vector = arrays.standard_normal(width).astype(np.float32) if kind < 0.9 else None
        if kind > 0.95:
            gone.add(name)
        builder.add_item(item(name, vector, available=name not in gone))
        expected[name] = vector if width == 50 else None
    data = builder.build({})
    assert data.item_ids == list(expected)
    assert data.input_shape == (50,)
    assert data.has_features.tolist() == [vector is not None for vector in expected.values()]
    assert data.features is not None
    wanted = [np.zeros(50, np.float32) if vector is None else vector for vector in expected.values()]
    np.testing.assert_array_equal(data.features, wanted)
    assert isinstance(data.features.base, np.memmap)
    assert builder.unavailable == gone


def test_interactions_with_items_that_are_not_published_are_left_out(tmp_path: Path) -> None:
    builder = DatasetBuilder(tmp_path)
    builder.add_item(item("b", None))
    builder.add_item(item("a", None))
    for user, name, when in [("anna", "x", 1.0), ("bert", "a", 2.0), ("anna", "b", 3.0), ("bert", "a", 4.0)]:
        builder.add_interaction(Interaction(user, name, "view", 1.0, when, 0))
    touched = builder.build({}).interactions
    assert touched is not None
    assert touched.items.tolist() == [0, 1]
    assert touched.timestamps.tolist() == [3.0, 4.0]
    assert len(set(touched.users.tolist())) == 2
