"""People with a taste who go on in time, and a catalogue that grows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.histories import Interactions
from models.training import TrainingData
from schemas.model_settings import ContentSettings, ModelSettings

USERS, ITEMS, TASTES, STEPS = 120, 160, 4, 24
SETTINGS = ModelSettings(
    content=ContentSettings(latent_dim=4, hidden=[16], epochs=20),
    interaction_kind="contrastive",
    user_dim=16,
    item_bytes=16,
    interaction_epochs=20,
)


def tastes(items: int = ITEMS, *, features: bool = True) -> TrainingData:
    """User u mostly touches items of the taste u % 4, one a second; the last ``ITEMS - items`` items never."""
    rng = np.random.default_rng(0)
    users, touched, times = [], [], []
    for user in range(USERS):
        own = np.arange(user % TASTES, items, TASTES)
        chosen = np.concatenate([rng.choice(own, STEPS - 4, replace=False), rng.choice(items, 4)])
        for step, item in enumerate(rng.permutation(chosen)):
            users.append(user)
            touched.append(item)
            times.append(step + user / USERS)
    rows = rng.normal(0, 0.1, (ITEMS, TASTES + 2))
    rows[:, :TASTES] += np.eye(TASTES)[np.arange(ITEMS) % TASTES]
    return TrainingData(
        item_ids=[f"item-{item}" for item in range(ITEMS)],
        features=rows.astype(np.float32) if features else None,
        has_features=np.full(ITEMS, features),
        input_shape=(TASTES + 2,) if features else None,
        published=True,
        interactions=Interactions(
            np.array(users), np.array(touched), np.ones(len(users), np.float32), np.array(times, np.float64)
        ),
    )


def shuffled(data: TrainingData) -> TrainingData:
    """Return the same with the items of all interactions in random order."""
    own = data.interactions
    assert own is not None
    items = np.random.default_rng(1).permutation(own.items)
    return replace(data, interactions=Interactions(own.users, items, own.weights, own.timestamps))
