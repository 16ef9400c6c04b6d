"""Interactions as one history a user, in time order: what the interaction autoencoder is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.sparse as sp

from models.arrays import Doubles, Floats, Ints, Mask


@dataclass(frozen=True, slots=True)
class Interactions:
    """Interactions as they arrived: m rows of user index, item index, weight and Unix time.

    A second row with the same user and item replaces the first; weight 0 retracts it.
    """

    users: Ints
    items: Ints
    weights: Floats
    timestamps: Doubles

    def __post_init__(self) -> None:
        if not len(self.users) == len(self.items) == len(self.weights) == len(self.timestamps):
            raise ValueError("users, items, weights and timestamps must have the same length")

    def rows(self, chosen: Mask) -> Interactions:
        """Return the chosen rows."""
        return Interactions(self.users[chosen], self.items[chosen], self.weights[chosen], self.timestamps[chosen])


@dataclass(frozen=True, slots=True)
class Histories:
    """The history of user ``j`` is rows ``indptr[j]:indptr[j + 1]`` of the other arrays, oldest first."""

    indptr: Ints
    items: Ints
    weights: Floats
    timestamps: Doubles

    @classmethod
    def of(cls, interactions: Interactions, users: int) -> Self:
        """Return the histories of users 0..``users`` - 1."""
        pairs = np.stack([interactions.users, interactions.items], axis=1)
        newest_first = pairs[::-1]
        _, first = np.unique(newest_first, axis=0, return_index=True)
        rows = len(pairs) - 1 - first
        rows = rows[interactions.weights[rows] > 0]
        # Rows that arrived at the same second stay in the order of arrival.
        rows = rows[np.lexsort((rows, interactions.timestamps[rows], interactions.users[rows]))]
        counts = np.bincount(interactions.users[rows], minlength=users)
        return cls(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            interactions.items[rows].astype(np.int64),
            interactions.weights[rows].astype(np.float32),
            interactions.timestamps[rows].astype(np.float64),
        )

    @classmethod
    def empty(cls) -> Self:
        """Return no histories."""
        return cls(np.zeros(1, np.int64), np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.float64))

    def __len__(self) -> int:
        """Return the number of users."""
        return len(self.indptr) - 1

    @property
    def lengths(self) -> Ints:
        """Interactions of each user."""
        return np.diff(self.indptr)

    @property
    def users(self) -> Ints:
        """The user of each row."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def places(self) -> Ints:
        """The place of each row in its history, from 0."""
        return np.arange(len(self.items)) - np.repeat(self.indptr[:-1], self.lengths)

    def norms(self) -> Doubles:
        """Return the length of the weights of each history, ``[users]``."""
        wide = self.weights.astype(np.float64)
        lengths: Doubles = np.sqrt(np.bincount(self.users, wide * wide, minlength=len(self)))
        return lengths

    def unit_weights(self) -> Floats:
        """Return the weights, those of each history scaled to length 1, float32."""
        return (self.weights / self.norms()[self.users]).astype(np.float32)

    def rows(self, chosen: Mask) -> Histories:
        """Return the histories with the chosen rows only; every user stays, maybe with an empty history."""
        counts = np.bincount(self.users[chosen], minlength=len(self))
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Histories(indptr, self.items[chosen], self.weights[chosen], self.timestamps[chosen])

    def take(self, users: Ints) -> Histories:
        """Return the histories of ``users``, in their order."""
        return self.slices(self.indptr[users], self.indptr[users + 1])

    def slices(self, begins: Ints, ends: Ints) -> Histories:
        """Return the rows from ``begins[i]`` up to ``ends[i]`` as history i."""
        lengths = ends - begins
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.arange(indptr[-1]) + np.repeat(begins - indptr[:-1], lengths)
        return Histories(indptr, self.items[rows], self.weights[rows], self.timestamps[rows])

    def split_last(self, share: float) -> tuple[Histories, Histories]:
        """Return the histories without and with only the last ``share`` of each, rounded down."""
        held = np.floor(self.lengths * share).astype(np.int64)
        late = self.places >= np.repeat(self.lengths - held, self.lengths)
        return self.rows(~late), self.rows(late)

    def shuffle_ties(self, rng: np.random.Generator) -> Histories:
        """Return the histories with rows of the same time in random order.

        Many logs have coarse times, or none: what comes first within one says nothing.
        """
        order = np.lexsort((rng.random(len(self.items)), self.timestamps, self.users))
        return Histories(self.indptr, self.items[order], self.weights[order], self.timestamps[order])

    def sparse(self, items: int) -> sp.csr_array:
        """Return the weights as a matrix, float32 ``[users, items]``."""
        return sp.csr_array((self.weights, self.items, self.indptr), shape=(len(self), items))
