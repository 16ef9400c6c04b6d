"""MovieLens-100K: 100,000 ratings of 1,682 films by 943 people, from 1997 and 1998.

F. M. Harper and J. A. Konstan 2015, The MovieLens Datasets: History and Context. GroupLens allows research
use and no redistribution, so the files are taken from a package that carries them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from schemas.events import InteractionEvent, ItemEvent
from workers.datasets.wheels import WheelFiles

FILES: Final = WheelFiles(
    title="MovieLens-100K",
    wheel="recbole==1.2.1",
    inside="recbole/dataset_example/ml-100k",
    sha256={
        "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
        "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
        "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
    },
)
GENRES: Final = (
    *("Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
# Release years between two of these are shared out between both, so that near years look alike. They lie
# closer where most of the films are.
YEAR_KNOTS: Final = (1930, 1945, 1960, 1970, 1980, 1987, 1992, 1994, 1995, 1996, 1997, 1998)
DIMENSION: Final = len(GENRES) + len(YEAR_KNOTS)
TEST_SHARE: Final = 0.2
_TRAILING_ARTICLE: Final = re.compile(r"^(.*?), (The|A|An|Il|La|Le|Les|L'|Das|Der|Die|El|Los)(?= \(|$)")


@dataclass(frozen=True, slots=True)
class Film:
    """One film. The year is None where the data set does not know it."""

    item_id: str
    title: str
    year: int | None
    genres: tuple[str, ...]

    @property
    def label(self) -> str:
        """Title and year, as people write it."""
        return f"{self.title} ({self.year})" if self.year else self.title

    def features(self) -> list[float]:
        """Return ``DIMENSION`` numbers: 1 for each genre, then the year spread over ``YEAR_KNOTS``."""
        year = [0.0] * len(YEAR_KNOTS)
        if self.year is not None:
            position = float(np.interp(self.year, YEAR_KNOTS, range(len(YEAR_KNOTS))))
            lower = int(position)
            year[lower] = 1 - (position - lower)
            if lower + 1 < len(YEAR_KNOTS):
                year[lower + 1] = position - lower
        return [float(genre in self.genres) for genre in GENRES] + year

    def event(self) -> ItemEvent:
        """Return the item event that publishes the film."""
        attributes: dict[str, str | int | float | bool | list[str] | None] = {
            "title": self.title,
            "year": self.year,
            "genres": list(self.genres),
        }
        return ItemEvent(self.item_id, features=self.features(), attributes=attributes)


@dataclass(frozen=True, slots=True)
class Person:
    """One viewer, as the data set describes them."""

    user_id: str
    age: int
    gender: str
    occupation: str

    @property
    def label(self) -> str:
        """Who this is, in a few words."""
        kind = {"M": "man", "F": "woman"}.get(self.gender, "person")
        work = "" if self.occupation in {"none", "other"} else f", {self.occupation}"
        return f"viewer {self.user_id}: {kind} of {self.age}{work}"


@dataclass(frozen=True, slots=True)
class MovieLens:
    """The whole data set; interactions are in time order."""

    films: dict[str, Film]
    people: dict[str, Person]
    interactions: list[InteractionEvent]


@dataclass(frozen=True, slots=True)
class Split:
    """Interactions in time order: ``test`` is the last fifth of each user's."""

    train: list[InteractionEvent]
    test: list[InteractionEvent]


def load(directory: Path) -> MovieLens:
    """Return MovieLens-100K from ``directory``, where it is fetched to if it is not there yet.

    Raises:
        DatasetMissing: it is not there and cannot be fetched.
    """
    FILES.fetch(directory)
    return MovieLens(
        films=parse_films(_lines(directory / "ml-100k.item")),
        people=parse_people(_lines(directory / "ml-100k.user")),
        interactions=parse_interactions(_lines(directory / "ml-100k.inter")),
    )


def parse_films(lines: Iterable[str]) -> dict[str, Film]:
    """Return the films by id from the lines of an ``.item`` file (tab-separated, after its header)."""
    films = {}
    for item_id, title, year, genres in _fields(lines, 4):
        known = tuple(genre for genre in genres.split() if genre in GENRES)
        films[item_id] = Film(item_id, _title(title), int(year) if year.isdecimal() else None, known)
    return films


def parse_people(lines: Iterable[str]) -> dict[str, Person]:
    """Return the viewers by id from the lines of a ``.user`` file."""
    return {
        user_id: Person(user_id, int(age), gender, occupation)
        for user_id, age, gender, occupation, _ in _fields(lines, 5)
    }


def parse_interactions(lines: Iterable[str]) -> list[InteractionEvent]:
    """Return the interactions of an ``.inter`` file in time order, equal times in the order of the file.

    Each counts the same whatever the rating was: that somebody watched a film is the implicit signal.
    """
    events = [
        InteractionEvent(user_id, item_id, kind="watch", timestamp=float(timestamp))
        for user_id, item_id, _, timestamp in _fields(lines, 4)
    ]
    return sorted(events, key=_time)


def split(interactions: list[InteractionEvent]) -> Split:
    """Return each user's last fifth (rounded up) as test and the rest as training, both in time order."""
    counts: dict[str, int] = {}
    for event in interactions:
        counts[event.user_id] = counts.get(event.user_id, 0) + 1
    seen = dict.fromkeys(counts, 0)
    parts = Split([], [])
    for event in interactions:
        seen[event.user_id] += 1
        is_train = seen[event.user_id] <= int(counts[event.user_id] * (1 - TEST_SHARE))
        (parts.train if is_train else parts.test).append(event)
    return parts


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def _fields(lines: Iterable[str], count: int) -> Iterator[list[str]]:
    for number, line in enumerate(lines, 1):
        fields = line.split("\t")
        if len(fields) != count:
            raise ValueError(f"line {number} has {len(fields)} fields, not {count}: {line!r}")
        if number > 1:  # The first line names the columns.
            yield fields


def _title(title: str) -> str:
    """Return "The Usual Suspects" for "Usual Suspects, The"."""
    return _TRAILING_ARTICLE.sub(lambda found: f"{found[2]} {found[1]}".replace("L' ", "L'"), title)


def _time(event: InteractionEvent) -> float:
    return event.timestamp or 0.0
