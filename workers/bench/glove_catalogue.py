"""A catalogue of GloVe's words, with a model, as an encoder stores it; and the exact answers to compare others with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np
import redis

from models.arrays import Floats, Ints, unit_rows
from models.autoencoders import AutoencoderConfig, build_autoencoder
from models.bundle import ModelParts, save_bundle
from models.codecs import Int8Codec
from models.content import ContentModel
from models.scaling import Scaling
from models.space import ContentSpace
from schemas.keys import Keys
from schemas.settings import Settings
from workers.bench.stored_items import store_items
from workers.datasets import glove
from workers.promotions import promote
from workers.versions import version_prefix

ITEMS: Final = 400_000
# Items are in so many groups of one size, so that an item's group matches 1% of them.
GROUPS: Final = 100
GROUP: Final = "group"
_SEED: Final = 0
# Scores that differ by less are ties: they are sums of 50 products in float32.
_TIE: Final = 1e-6
_QUERIES_AT_A_TIME: Final = 50


class GloveCatalogue:
    """The ``count`` most frequent words: item ``n`` is the ``n``-th of them.

    ``vectors`` are float32 ``[count, 50]`` of length 1, what the items' codes decode to. ``groups`` is int64
    ``[count]``, the value of each item's only attribute. ``asked`` are the items that queries are for.

    Raises:
        DatasetMissing: GloVe is not on this machine and cannot be fetched.
    """

    def __init__(self, count: int, queries: int) -> None:
        words = unit_rows(glove.load()[:count])
        self._codec = Int8Codec.fit(words)
        self._codes = self._codec.encode(words)
        self.vectors = unit_rows(self._codec.decode(self._codes))
        self.groups: Ints = np.arange(len(words)) % GROUPS
        self.asked: Ints = np.random.default_rng(_SEED).choice(len(words), min(queries, len(words)), replace=False)

    def __len__(self) -> int:
        return len(self.vectors)

    def store(self, client: redis.Redis, settings: Settings, advance: Callable[[int], None]) -> None:
        """Make a model whose latents are the words' vectors the current one, and store all items as an encoder does."""
        version = self._save_model(settings)
        promote(client, Keys(settings.redis.prefix), version, "to measure")
        ids = [str(row) for row in range(len(self))]
        attributes = [msgspec.json.encode({GROUP: group}) for group in self.groups.tolist()]
        store_items(client, settings, version, ids, self._codes, attributes, advance)

    def cuts(self, ks: Sequence[int], groups: Ints | None = None) -> Floats:
        """Return the score of the k-th nearest neighbour of each item that is ``asked`` for, ``[queries, ks]``.

        With ``groups``, int64 ``[queries]``, among the items of that group only.
        """
        found = []
        for start in range(0, len(self.asked), _QUERIES_AT_A_TIME):
            rows = self.asked[start : start + _QUERIES_AT_A_TIME]
            scores = self.vectors[rows] @ self.vectors.T
            scores[np.arange(len(rows)), rows] = -np.inf
            if groups is not None:
                scores[groups[start : start + len(rows), None] != self.groups] = -np.inf
            places = [len(self) - k for k in ks]
            found.append(np.partition(scores, places, axis=1)[:, places])
        return np.concatenate(found)

    def recall(self, found: Sequence[Sequence[int]], cuts: Floats, k: int, groups: Ints | None = None) -> float:
        """Return the mean share of the ``k`` nearest neighbours that each list of items has among its first ``k``.

        What is as near as the k-th counts as one of them, as in ann-benchmarks. ``cuts`` is ``[queries]``, for ``k``.
        """
        shares = []
        for query, (row, items) in enumerate(zip(self.asked, found, strict=True)):
            first = np.unique(np.asarray([item for item in items if item != row][:k], np.int64))
            near = self.vectors[first] @ self.vectors[row] >= cuts[query] - _TIE
            if groups is not None:
                near &= self.groups[first] == groups[query]
            shares.append(np.count_nonzero(near) / k)
        return float(np.mean(shares))

    def _save_model(self, settings: Settings) -> str:
        """Write a bundle into the registry and return its version. Nothing is encoded with its random network."""
        dim = self.vectors.shape[1]
        config = AutoencoderConfig(input_shape=(dim,), latent_dim=dim, hidden=())
        scaling = Scaling.fit(self.vectors, shared_scale=False)
        content = ContentModel(build_autoencoder(config), scaling, self._codec)
        parts = ModelParts(content, ContentSpace(np.zeros(dim, np.float32)), Int8Codec.fit(self.vectors))
        root, prefix = settings.registry, version_prefix()
        return save_bundle(root, parts, version_prefix=prefix, metrics={}, settings={}, offsets={}).name
