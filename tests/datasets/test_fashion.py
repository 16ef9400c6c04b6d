"""The IDX reader on files made here."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.events import MSGPACK, decode_item, encode, feature_vector
from workers.datasets import DatasetMissing, fashion


def _write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, count in (("train", 3), ("t10k", 2)):
        _write_idx(tmp_path / f"{name}-images-idx3-ubyte.gz", rng.integers(0, 256, (count, 28, 28), np.uint8))
        _write_idx(tmp_path / f"{name}-labels-idx1-ubyte.gz", np.arange(count, dtype=np.uint8))
    return tmp_path


def test_images_get_ids_that_lead_back_to_them(directory: Path) -> None:
    data = fashion.load(directory)
    assert (len(data), data.train) == (5, 3)
    ids = [data.item_id(number) for number in range(5)]
    assert ids == ["train-00000", "train-00001", "train-00002", "test-00000", "test-00001"]
    assert [data.number(item_id) for item_id in ids] == list(range(5))
    assert [data.kind(number) for number in range(5)] == ["T-shirt", "trousers", "pullover", "T-shirt", "trousers"]


def test_image_event_survives_the_wire(directory: Path) -> None:
    data = fashion.load(directory)
    event = decode_item(encode(data.event(3), MSGPACK), MSGPACK)
    vector = feature_vector(event)
    assert vector is not None
    np.testing.assert_array_equal(np.rint(vector * 255).astype(np.uint8).reshape(28, 28), data.images[3])
    assert event.attributes == {"kind": "T-shirt"}


def test_missing_file_is_said_with_a_way_to_get_it(directory: Path) -> None:
    (directory / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DatasetMissing, match="apt-get install dataset-fashion-mnist") as failure:
        fashion.load(directory)
    assert "t10k-labels-idx1-ubyte.gz" in str(failure.value)
    assert "--data" in str(failure.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip",
        gzip.compress(b""),
        gzip.compress(b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0"),
        gzip.compress(b"\0\0\x08\x03\0\0\0\x02\0\0\0\x02\0\0\0\x02\0\0"),
        gzip.compress(bytes(1000))[:15],
    ],
    ids=["empty", "other", "empty inside", "floats", "too short", "cut off"],
)
def test_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(DatasetMissing, match=r"images\.gz"):
        fashion.read_idx(path)
