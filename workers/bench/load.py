"""Models with random weights, catalogues of generated codes that fit them, and how long it takes to load one.

What an item costs does not depend on what a model has learned: its codes are as long, its networks as wide, and its
index as large as those of a trained one. But a search does depend on how items lie, so the codes are not uniformly
random: items belong to topics, and within a topic they differ in few directions, as the latents of real items do. A
larger catalogue has more topics, not larger ones.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np
import redis

from models.arrays import Floats
from models.autoencoders import AutoencoderConfig, build_autoencoder
from models.bridge import Bridge
from models.bundle import FORMAT_VERSION, Bundle, Manifest, ModelParts
from models.codecs import Int8Codec
from models.content import ContentModel
from models.interaction import InteractionConfig, build_user_encoder
from models.retrieval_codes import RetrievalCodes
from models.scaling import Scaling
from models.space import ContentSpace, InteractionSpace, LatentSpace
from schemas.keys import Keys
from schemas.settings import Settings
from workers.bench.footprint import PARTITIONS, VERSION, Advance, Items, write_items
from workers.catalogue import Catalogue
from workers.delivery import PositionStore
from workers.follower import Follower
from workers.items import shortened_log
from workers.sandbox import SandboxError

SEED: Final = 0
LATENT_DIM: Final = 32
USER_DIM: Final = 64
# Items of the interaction autoencoder's own; its bridge places all others.
TRAINED: Final = 1000
_FOURIER_FEATURES: Final = 256
ITEMS_A_TOPIC: Final = 500
# In which the items of a topic differ, and how much they differ in all others.
_DIRECTIONS: Final = 8
_NOISE: Final = np.float32(0.1)
PREFIX: Final = "ls"
TIMEOUT_S: Final = 600.0

Space = Literal["content", "interactions"]


class Load(msgspec.Struct, frozen=True):
    """Loading one catalogue. ``memory_bytes`` is what the process has grown by."""

    seconds: float
    memory_bytes: int


def random_parts(space: Space, seed: int = SEED) -> ModelParts:
    """Return a model of 32 features and codes of 32 bytes.

    ``content`` ranks by the content latents, ``interactions`` by those of a contrastive autoencoder with a bridge.
    """
    rng = np.random.default_rng(seed)
    config = AutoencoderConfig(input_shape=(LATENT_DIM,), latent_dim=LATENT_DIM, hidden=())
    scaling = Scaling.fit(_normal(rng, 1000, LATENT_DIM), shared_scale=False)
    content = ContentModel(build_autoencoder(config), scaling, _codec())
    placed: LatentSpace = (
        _interactions(rng) if space == "interactions" else ContentSpace(np.zeros(LATENT_DIM, np.float32))
    )
    return ModelParts(content, placed, Int8Codec.fit(_normal(rng, 1000, placed.dim)))


def random_bundle(space: Space) -> Bundle:
    """Return the model of :func:`random_parts`, called as the stored items have it."""
    parts = random_parts(space)
    placed, content = parts.space, parts.content
    manifest = Manifest(
        version=VERSION,
        format_version=FORMAT_VERSION,
        content=content.config if content is not None else None,
        codec=content.codec.name if content is not None else None,
        detects=False,
        interaction=placed.config if isinstance(placed, InteractionSpace) else None,
        bridged=space == "interactions",
        seeded=False,
        trained_items=len(placed.vocabulary),
        metrics={},
        settings={},
        offsets={},
        libraries={},
        files={},
    )
    return Bundle(manifest, content, placed, parts.user_codec)


def topics(items: int) -> int:
    """Return how many topics there are among so many items."""
    return max(items // ITEMS_A_TOPIC, 1)


def topical_items(count: int) -> Items:
    """Return items with ids "0", "1" and so on; number n belongs to the topic ``n % topics(count)``."""
    rng = np.random.default_rng(SEED)
    number = topics(count)
    centres = _normal(rng, number, LATENT_DIM)
    directions = _normal(rng, number * _DIRECTIONS, LATENT_DIM).reshape(number, _DIRECTIONS, LATENT_DIM)
    items = Items(count, "decimal", LATENT_DIM, LATENT_DIM)
    codec = _codec()
    for topic in range(number):
        own = len(items.codes[topic::number])
        latents = centres[topic] + _normal(rng, own, _DIRECTIONS) @ directions[topic] / np.float32(_DIRECTIONS)
        items.codes[topic::number] = codec.encode(latents + _NOISE * _normal(rng, own, LATENT_DIM))
    return items


def features(items: Items) -> Floats:
    """Return features that a model of :func:`random_parts` takes, float32 ``[items, 32]``; they lie as the codes do."""
    return _codec().decode(items.codes)


def fill(client: redis.Redis, items: Items, advance: Advance) -> None:
    """Store ``items`` as an encoder does, whose change log is empty when no events come."""
    keys = Keys(PREFIX)
    partitions = [keys.items(VERSION, partition) for partition in range(PARTITIONS)]
    store = PositionStore(client, keys)
    write_items(client, store, partitions, items, Settings().recommend.log_events, advance)
    for part in partitions:
        position = store.claim(part.position, 0)
        store.commit(shortened_log(part, position.next, position), position, position.next)


def load(client: redis.Redis, catalogue: Catalogue) -> Load:
    """Load what :func:`fill` stored into ``catalogue``, as a recommender does at its start.

    Raises:
        SandboxError: the codes are not loaded within ten minutes.
    """
    before = resident_bytes()
    follower = Follower(client, Keys(PREFIX), VERSION, PARTITIONS, catalogue)
    start = time.perf_counter()
    follower.start()
    try:
        loaded = follower.loaded.wait(TIMEOUT_S)
        seconds = time.perf_counter() - start
    finally:
        follower.close()
    follower.check()
    if not loaded:
        raise SandboxError(f"the codes are not loaded after {TIMEOUT_S:.0f} s")
    catalogue.retrieval.wait_sealed()
    return Load(round(seconds, 3), resident_bytes() - before)


def resident_bytes(process: int | str = "self") -> int:
    """Return the resident memory of a process, on Linux."""
    return int(Path(f"/proc/{process}/status").read_text().partition("VmRSS:")[2].split()[0]) * 1024


def _interactions(rng: np.random.Generator) -> InteractionSpace:
    config = InteractionConfig("contrastive", USER_DIM, USER_DIM)
    targets = 2 * USER_DIM + 1
    bridge = Bridge(
        _normal(rng, LATENT_DIM, _FOURIER_FEATURES) / np.float32(LATENT_DIM),
        _normal(rng, 1, _FOURIER_FEATURES)[0],
        _normal(rng, _FOURIER_FEATURES, targets),
        _normal(rng, LATENT_DIM, targets),
        _normal(rng, 1, targets)[0],
    )
    codes = RetrievalCodes.fit(_normal(rng, TRAINED, USER_DIM + 1), USER_DIM, SEED)
    trained = [str(number) for number in range(TRAINED)]
    encoder = build_user_encoder(config)
    return InteractionSpace(config, trained, codes, _normal(rng, TRAINED, USER_DIM), encoder, bridge, seeded=False)


def _codec() -> Int8Codec:
    return Int8Codec.fit(_normal(np.random.default_rng(SEED), 1000, LATENT_DIM))


def _normal(rng: np.random.Generator, rows: int, width: int) -> Floats:
    return rng.standard_normal((rows, width), np.float32)
