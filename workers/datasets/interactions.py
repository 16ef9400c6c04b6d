"""Interactions to evaluate recommendations on: matrices in a directory, a CSV file, or MovieLens-100K."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import scipy.sparse as sp

from models.arrays import Floats
from models.histories import Histories, Interactions
from schemas.events import InteractionEvent
from workers.datasets import movielens
from workers.errors import Repairable

MATRICES: Final = ("train.npz", "valid.npz", "test.npz")
TABLES: Final = ("interactions.csv", "interactions.csv.gz")
_TEST_SHARE: Final = 0.2


class UnusableData(Repairable):
    """A data set that is not there, or not as it should be."""


class Split(NamedTuple):
    """The histories of users 0 to n - 1, earlier and later part; ``features`` are ``[items, width]`` or None."""

    name: str
    items: int
    train: Histories
    test: Histories
    features: Floats | None = None

    @property
    def whole(self) -> Histories:
        """Both parts of each history."""
        parts = self.train, self.test
        interactions = Interactions(
            *(np.concatenate(columns) for columns in zip(*(_columns(part) for part in parts), strict=True))
        )
        return Histories.of(interactions, len(self.train))


def from_directory(directory: Path) -> Split:
    """Return the split of a directory with ``train.npz``, ``valid.npz`` and ``test.npz``, or ``interactions.csv``.

    The matrices are SciPy's sparse ones, users x items; anything above 0 is an interaction. What is in the
    training or validation matrix is the earlier part. A table has the columns user, item, timestamp in Unix
    seconds, and maybe weight; the last fifth of each user's rows is the later part.

    Raises:
        UnusableData: the files are missing or cannot be read.
    """
    if all((directory / name).is_file() for name in MATRICES):
        return _from_matrices(directory)
    for name in TABLES:
        if (directory / name).is_file():
            return _from_table(directory / name)
    raise UnusableData(
        f"{directory} has neither {', '.join(MATRICES)} (SciPy sparse matrices, users x items) nor {TABLES[0]} "
        "(user,item,timestamp)"
    )


def movielens_100k(directory: Path) -> Split:
    """Return MovieLens-100K, split by time as the demo splits it; the features are genres and years.

    Raises:
        DatasetMissing: it is not there and cannot be fetched.
    """
    data = movielens.load(directory)
    parts = movielens.split(data.interactions)
    films = {film: row for row, film in enumerate(data.films)}
    people = {person: row for row, person in enumerate(dict.fromkeys(event.user_id for event in data.interactions))}

    def histories(events: list[InteractionEvent]) -> Histories:
        interactions = Interactions(
            np.array([people[event.user_id] for event in events], np.int64),
            np.array([films[event.item_id] for event in events], np.int64),
            np.array([event.weight for event in events], np.float32),
            np.array([event.timestamp or 0.0 for event in events], np.float64),
        )
        return Histories.of(interactions, len(people))

    features = np.array([film.features() for film in data.films.values()], np.float32)
    return Split("ml-100k", len(films), histories(parts.train), histories(parts.test), features)


def _columns(histories: Histories) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return histories.users, histories.items, histories.weights, histories.timestamps


def _from_matrices(directory: Path) -> Split:
    train, valid, test = (_matrix(directory / name) for name in MATRICES)
    if not train.shape == valid.shape == test.shape:
        raise UnusableData(f"the matrices in {directory} differ in shape: {train.shape}, {valid.shape}, {test.shape}")
    return Split(directory.name, train.shape[1], _histories(train + valid), _histories(test))


def _matrix(path: Path) -> sp.csr_array:
    try:
        matrix = sp.csr_array(sp.load_npz(path))
    except (OSError, ValueError, KeyError) as error:
        raise UnusableData(f"{path} is not a sparse matrix of SciPy: {error}") from error
    matrix.data = (matrix.data > 0).astype(np.float32)
    matrix.eliminate_zeros()
    return matrix


def _histories(matrix: sp.csr_array) -> Histories:
    matrix.sort_indices()
    count = len(matrix.indices)
    return Histories(
        matrix.indptr.astype(np.int64),
        matrix.indices.astype(np.int64),
        np.ones(count, np.float32),
        np.zeros(count),
    )


def _from_table(path: Path) -> Split:
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    rows = [
        (users.setdefault(user, len(users)), items.setdefault(item, len(items)), weight, when)
        for user, item, weight, when in _rows(path)
    ]
    if not rows:
        raise UnusableData(f"{path} has no interactions")
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    interactions = Interactions(columns[0], columns[1], columns[2].astype(np.float32), columns[3].astype(np.float64))
    train, test = Histories.of(interactions, len(users)).split_last(_TEST_SHARE)
    return Split(path.parent.name, len(items), train, test)


def _rows(path: Path) -> Iterator[tuple[str, str, float, float]]:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as lines:
        for number, fields in enumerate(csv.reader(lines), 1):
            if not fields or (number == 1 and fields[:2] == ["user", "item"]):
                continue
            try:
                user, item, when, *weight = fields
                yield user, item, float(weight[0]) if weight else 1.0, float(when)
            except ValueError as error:
                raise UnusableData(f"{path}:{number} is not user,item,timestamp[,weight]: {error}") from error
