"""Data whose right answers are known: a checker-board, in which everybody likes the items of one colour."""

from __future__ import annotations

import numpy as np

from models.arrays import Floats
from models.histories import Interactions
from models.training import TrainingData
from schemas.model_settings import ContentSettings, ModelSettings

SIDE = 48
SETTINGS = ModelSettings(
    content=ContentSettings(latent_dim=3, hidden=[16], epochs=150),
    user_dim=8,
    interaction_hidden=24,
    interaction_epochs=100,
    seed=1,
)


def board(side: int = SIDE) -> Interactions:
    """User u has every item of the colour u % 2 but item u: that one is the right recommendation."""
    users, items = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    chosen = (users % 2 == items % 2) & (users != items)
    count = int(chosen.sum())
    return Interactions(users[chosen], items[chosen], np.ones(count, np.float32), np.zeros(count))


def colours(side: int, seed: int = 0) -> Floats:
    """Features float32 ``[side, 6]`` of items 0..side - 1: the colour and a little noise."""
    noise = np.random.default_rng(seed).normal(0, 0.1, (side, 6))
    colour = np.where(np.arange(side) % 2, 1.0, -1.0)[:, None]
    return np.asarray(noise + colour * [1, -1, 1, 0, 0, 2], np.float32)


def names(side: int = SIDE) -> list[str]:
    return [f"item-{item}" for item in range(side)]


def both(*, features: bool = True, interactions: bool = True, published: bool = True) -> TrainingData:
    return TrainingData(
        item_ids=names(),
        features=colours(SIDE) if features else None,
        has_features=np.full(SIDE, features),
        input_shape=(6,) if features else None,
        published=published,
        interactions=board() if interactions else None,
        offsets={"items": {0: SIDE, 1: 7}},
    )
