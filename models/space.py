"""The retrieval side of the latent space: where items lie, and how a history becomes a user code.

One interface for the three kinds of data: items with features and interactions, items only, interactions
only. The score of item i for a user is always ``retrieval[i] @ [user_code, 1]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, Self

import numpy as np

from models.arrays import Floats, Ints, Mask, float_matrix, unit_rows
from models.bridge import Bridge
from models.files import load_arrays, load_weights, save_arrays, save_weights
from models.interaction import InteractionConfig, build_user_encoder, is_linear, weighted_bags
from models.retrieval_codes import RetrievalCodes
from models.runtime import FixedBatch

_ARRAYS: Final = "space.npz"
_USER_ENCODER: Final = "user_encoder.weights.h5"


class Placement(NamedTuple):
    """Where n items lie. Rows of items that are not known are zeros."""

    known: Mask  # [n]
    retrieval: Floats  # [n, dim + 1]: w, then b
    embeddings: Floats  # [n, embedding_dim]


class LatentSpace(Protocol):
    """What the recommender needs of a model."""

    @property
    def dim(self) -> int:
        """Width of a user code; retrieval vectors have one column more."""
        ...

    @property
    def embedding_dim(self) -> int:
        """Width of an input embedding."""
        ...

    @property
    def vocabulary(self) -> dict[str, int]:
        """The items that were trained, by id, with their row; empty where only features were."""
        ...

    @property
    def seeded(self) -> bool:
        """Whether the vocabulary itself is the catalogue, because no item was ever published."""
        ...

    @property
    def linear(self) -> bool:
        """Whether a code is a weighted sum of the embeddings, up to a factor that each history has."""
        ...

    def place(self, ids: Sequence[str], latents: Floats | None, has_latent: Mask) -> Placement:
        """Return where items lie, from their id or else from their content latent.

        Args:
            ids: n item ids.
            latents: decoded content latents, float32 ``[n, latent_dim]``; rows without one are ignored.
                None where there are none at all.
            has_latent: which rows have a latent, bool ``[n]``.
        """
        ...

    def bags(self, embeddings: Floats, indptr: Ints, indices: Ints, weights: Floats) -> Floats:
        """Return the embedding bag of each history; see :func:`models.interaction.weighted_bags`."""
        ...

    def user_codes(self, bags: Floats) -> Floats:
        """Return user codes, float32 ``[u, dim]``, of bags ``[u, embedding_dim]``."""
        ...

    def save(self, directory: Path) -> None:
        """Write the space's files into ``directory``."""
        ...


class ContentSpace:
    """The space of the content latents: cosine between an item and the weighted mean of what one touched.

    Latents are centred first: the mean that all items share says nothing about which are alike.
    """

    seeded = False
    linear = True

    def __init__(self, centre: Floats) -> None:
        self._centre = centre
        self.dim = self.embedding_dim = len(centre)
        self.vocabulary: dict[str, int] = {}

    def place(self, ids: Sequence[str], latents: Floats | None, has_latent: Mask) -> Placement:
        """Return the directions of the latents."""
        embeddings = np.zeros((len(ids), self.dim), np.float32)
        if latents is not None:
            embeddings[has_latent] = unit_rows(latents[has_latent] - self._centre)
        retrieval = np.concatenate([embeddings, np.zeros((len(ids), 1), np.float32)], axis=1)
        return Placement(has_latent.copy(), retrieval, embeddings)

    def bags(self, embeddings: Floats, indptr: Ints, indices: Ints, weights: Floats) -> Floats:
        """Return the weighted sum of each history."""
        return weighted_bags(embeddings, indptr, indices, weights)

    def user_codes(self, bags: Floats) -> Floats:
        """Return the bags' directions."""
        return unit_rows(float_matrix(bags, self.dim, "bags"))

    def save(self, directory: Path) -> None:
        """Write the space's files into ``directory``."""
        save_arrays(directory / _ARRAYS, {"centre": self._centre})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the space that :meth:`save` wrote."""
        return cls(**load_arrays(directory / _ARRAYS))


class InteractionSpace:
    """The space of the interaction autoencoder; a bridge places items that it was not trained on.

    Args:
        config: the architecture.
        item_ids: the trained items, in the order of the rows of the arrays.
        codes: the retrieval vectors as they are kept, n of them.
        embeddings: float32 ``[n, hidden]``.
        user_encoder: the Keras model from bags to user codes.
        bridge: from content latents to ``[retrieval, embedding]``; None where too few items have features.
        seeded: see :class:`LatentSpace`.
    """

    def __init__(
        self,
        config: InteractionConfig,
        item_ids: Sequence[str],
        codes: RetrievalCodes,
        embeddings: Floats,
        user_encoder: Any,
        bridge: Bridge | None,
        *,
        seeded: bool,
    ) -> None:
        self.config = config
        self.seeded = seeded
        self.dim = config.user_dim
        self.embedding_dim = config.hidden
        self.vocabulary = {name: row for row, name in enumerate(item_ids)}
        self._codes = codes
        self._retrieval = float_matrix(codes.decode(), self.dim + 1, "retrieval vectors")
        self._embeddings = float_matrix(embeddings, self.embedding_dim, "embeddings")
        self._network = user_encoder
        self._encode = FixedBatch(user_encoder, self.embedding_dim)
        self._bridge = bridge

    @property
    def user_encoder(self) -> Any:
        """The Keras model from bags to user codes."""
        return self._network

    @property
    def code_bytes(self) -> int:
        """Bytes of the code that a trained item is ranked by."""
        return self._codes.code_bytes

    @property
    def linear(self) -> bool:
        """Whether a code is a weighted sum of the embeddings, up to a factor that each history has."""
        return is_linear(self.config)

    @property
    def bridged(self) -> bool:
        """Whether items can be placed by their features."""
        return self._bridge is not None

    def place(self, ids: Sequence[str], latents: Floats | None, has_latent: Mask) -> Placement:
        """Return the trained rows of trained items; the bridge's for others that have a latent."""
        rows = np.fromiter(map(self.vocabulary.get, ids, repeat(-1)), np.int64, len(ids))
        trained = rows >= 0
        retrieval = np.zeros((len(ids), self.dim + 1), np.float32)
        embeddings = np.zeros((len(ids), self.embedding_dim), np.float32)
        retrieval[trained], embeddings[trained] = self._retrieval[rows[trained]], self._embeddings[rows[trained]]
        bridged = np.zeros(len(ids), bool)
        if self._bridge is not None and latents is not None:
            bridged = has_latent & ~trained
            placed = self._bridge(latents[bridged])
            retrieval[bridged], embeddings[bridged] = placed[:, : self.dim + 1], placed[:, self.dim + 1 :]
        return Placement(trained | bridged, retrieval, embeddings)

    def bags(self, embeddings: Floats, indptr: Ints, indices: Ints, weights: Floats) -> Floats:
        """Return the embedding bag of each history."""
        return weighted_bags(embeddings, indptr, indices, weights)

    def user_codes(self, bags: Floats) -> Floats:
        """Return user codes, the mean and no sample."""
        return self._encode(bags)

    def save(self, directory: Path) -> None:
        """Write the space's files into ``directory``."""
        save_arrays(directory / _ARRAYS, {**self._codes.arrays(), "embeddings": self._embeddings})
        save_weights(directory / _USER_ENCODER, self._network)
        if self._bridge is not None:
            self._bridge.save(directory)

    @classmethod
    def load(
        cls, directory: Path, config: InteractionConfig, item_ids: Sequence[str], *, bridged: bool, seeded: bool
    ) -> Self:
        """Return the space that :meth:`save` wrote."""
        encoder = build_user_encoder(config)
        load_weights(directory / _USER_ENCODER, encoder)
        arrays = load_arrays(directory / _ARRAYS)
        bridge = Bridge.load(directory) if bridged else None
        codes, embeddings = RetrievalCodes.load(arrays), arrays["embeddings"]
        return cls(config, item_ids, codes, embeddings, encoder, bridge, seeded=seeded)
