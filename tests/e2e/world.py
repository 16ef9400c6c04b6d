"""A small world with known tastes: films of five genres, people who mostly watch one of them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np

from schemas.events import Attribute, InteractionEvent, ItemEvent

GENRE_NAMES = ("Comedy", "Drama", "Action", "Horror", "War")
GENRES = len(GENRE_NAMES)
ITEMS = 300
USERS = 220
NEW_ITEM = "brand-new"


@dataclass
class World:
    """Item events, and interaction events in time order."""

    items: list[ItemEvent] = field(default_factory=list)
    interactions: list[InteractionEvent] = field(default_factory=list)


def features(genre: int, rng: np.random.Generator) -> list[float]:
    """Return features that tell the genre: a noisy one-hot, and two numbers that follow from it."""
    one_hot = np.eye(GENRES)[genre] + rng.normal(0, 0.05, GENRES)
    return [float(value) for value in (*one_hot, one_hot.sum(), float(genre) / GENRES + rng.normal(0, 0.02))]


def wild(item_id: str, rng: np.random.Generator) -> ItemEvent:
    """Return an item whose features are far from those of every film."""
    return ItemEvent(item_id=item_id, features=[float(value) for value in rng.normal(0, 30, GENRES + 2)])


def genre_of(item_id: str) -> int:
    """Return the genre of a film of :func:`make_world`."""
    return int(item_id) % GENRES


def make_world(seed: int = 0) -> World:
    """Return the same world for the same seed."""
    rng, arrays = random.Random(seed), np.random.default_rng(seed)
    world = World()
    for number in range(1, ITEMS + 1):
        title = f"Film {number}"
        genres = [GENRE_NAMES[genre_of(str(number))], *(["Classic"] if number % 7 == 0 else [])]
        attributes: dict[str, Attribute] = {"title": title, "genres": genres, "price": number % 10 + 0.5}
        world.items.append(
            ItemEvent(item_id=str(number), features=features(genre_of(str(number)), arrays), attributes=attributes)
        )
    for number in range(1, USERS + 1):
        favourite = number % GENRES
        for step in range(rng.randint(8, 30)):
            genre = favourite if rng.random() < 0.85 else rng.randrange(GENRES)
            # Lower numbers are watched more often, so that popularity is not flat.
            rank = min(int(rng.expovariate(0.06)), ITEMS // GENRES - 1)
            item = rank * GENRES + (genre or GENRES)
            world.interactions.append(
                InteractionEvent(
                    user_id=str(number),
                    item_id=str(item),
                    weight=rng.choice([0.5, 1.0, 2.0]),
                    timestamp=893_286_638.0 + 1000 * step + number,
                )
            )
    world.interactions.sort(key=lambda event: event.timestamp or 0)
    return world
