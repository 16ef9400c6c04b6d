"""Where points lie, and what their colours mean."""

from __future__ import annotations

import msgspec
import numpy as np

from models.codecs import Int8Codec
from schemas.records import CodeRecord
from workers.explorer.colours import ANOMALY, CATEGORIES, Colours
from workers.explorer.projection import principal_plane, projected


def record(score: float | None = None) -> CodeRecord:
    return CodeRecord(True, anomalous=(score or 0) > 1, error=0.5, score=score, tag=0, code=b"")


def test_places_are_those_of_pca() -> None:
    rng = np.random.default_rng(0)
    latents = (rng.normal(size=(500, 6)) * [9, 1, 5, 0.2, 0.1, 0.1]).astype(np.float32)
    codec = Int8Codec.fit(latents)
    codes = codec.encode(latents)
    places = projected(codec, codes, principal_plane(codec, codes, rng))
    decoded = codec.decode(codes).astype(np.float64)
    centred = decoded - decoded.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    for axis in range(2):
        assert abs(np.corrcoef(places[:, axis], centred @ directions[axis])[0, 1]) > 0.9999
    again = projected(codec, codes[::-1], principal_plane(codec, codes[::-1], rng))
    np.testing.assert_allclose(again[::-1], places, atol=1e-3)


def test_one_dimension_and_one_item_have_a_place() -> None:
    codec = Int8Codec(np.zeros(1, np.float32), np.ones(1, np.float32))
    for codes in (np.zeros((1, 1), np.uint8), np.arange(3, dtype=np.uint8)[:, None], np.zeros((0, 1), np.uint8)):
        places = projected(codec, codes, principal_plane(codec, codes, np.random.default_rng(0)))
        assert places.shape == (len(codes), 2)
        assert np.isfinite(places).all()


def test_colours_are_in_the_order_of_the_points() -> None:
    colours = Colours()
    documents = [
        {"genre": ["War", "x"], "price": 1.0},
        {},
        {"genre": "War", "price": 3.0},
        {"genre": "Drama", "title": "T"},
    ]
    records = [record(), record(0.5), record(2.0), record()]
    for start in (0, 2):
        part = slice(start, start + 2)
        colours.add([msgspec.json.encode(one) if one else b"" for one in documents[part]], records[part])
    colours.finish(np.array([3, 2, 1, 0]))
    scales = {scale.name: scale for scale in colours.scales()}
    # Only War is on more than one item: a value that is on one says nothing.
    assert scales["genre"].labels == ["War"]
    assert colours.levels("genre").tolist() == [1, 2, 0, 2]
    assert colours.levels("price").tolist() == [0, 255, 0, 1]
    anomaly = colours.levels(ANOMALY)
    assert anomaly[0] == anomaly[3] == 0
    assert anomaly[1] > anomaly[2] > 1
    assert colours.titles([3, 0]) == ["T", None]


def test_many_categories_become_other() -> None:
    colours = Colours()
    values = [str(number % (2 * CATEGORIES)) for number in range(10 * CATEGORIES)] + ["frequent"] * 50
    colours.add([msgspec.json.encode({"a": value}) for value in values], [record()] * len(values))
    colours.finish(np.arange(len(values)))
    (scale,) = (scale for scale in colours.scales() if scale.name == "a")
    assert len(scale.labels) == CATEGORIES
    assert scale.labels[0] == "frequent"
    levels = colours.levels("a")
    assert (levels[-50:] == 2).all()
    assert set(levels.tolist()) == set(range(1, 2 + CATEGORIES))


def test_a_number_that_no_float_holds_is_not_on_the_scale() -> None:
    colours = Colours()
    prices = [1, 10**400, 3, -(10**400)]
    colours.add([f'{{"price": {price}}}'.encode() for price in prices], [record()] * 4)
    colours.finish(np.arange(4))
    (scale,) = (one for one in colours.scales() if one.name == "price")
    assert scale.low >= 1
    assert scale.high <= 3
    assert [level > 0 for level in colours.levels("price")] == [True, False, True, False]
