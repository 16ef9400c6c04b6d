"""Fashion-MNIST: 70,000 grey images of 28 x 28 pixels of ten kinds of clothing.

H. Xiao, K. Rasul and R. Vollgraf 2017, Fashion-MNIST (arXiv:1708.07747). The files are in the IDX format.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.events import Image, ItemEvent
from workers.datasets import DatasetMissing

# Where Debian's package puts them.
DEBIAN_DIRECTORY: Final = Path("/usr/share/datasets/fashion-mnist")
FILES: Final = (
    *("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    *("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
)
KINDS: Final = (
    *("T-shirt", "trousers", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
_BYTES_MAGIC: Final = b"\0\0\x08"


@dataclass(frozen=True, slots=True)
class Fashion:
    """Images as uint8 ``[n, 28, 28]`` and labels as uint8 ``[n]``, the first ``train`` of them for training."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    train: int

    def __len__(self) -> int:
        return len(self.images)

    def item_id(self, number: int) -> str:
        """Return the id of an image, such as ``train-00042``."""
        is_train = number < self.train
        return f"train-{number:05d}" if is_train else f"test-{number - self.train:05d}"

    def number(self, item_id: str) -> int:
        """Return which image has an id; the inverse of :meth:`item_id`."""
        part, _, digits = item_id.partition("-")
        return int(digits) + (self.train if part == "test" else 0)

    def kind(self, number: int) -> str:
        """Return what an image shows, in words."""
        return KINDS[self.labels[number]]

    def event(self, number: int) -> ItemEvent:
        """Return the item event that publishes an image."""
        pixels = self.images[number]
        return ItemEvent(
            self.item_id(number),
            image=Image(list(pixels.shape), pixels.tobytes()),
            attributes={"kind": self.kind(number)},
        )


def load(directory: Path | None = None) -> Fashion:
    """Return Fashion-MNIST from ``directory``, by default from where Debian's package puts it.

    Raises:
        DatasetMissing: a file is missing or cannot be read.
    """
    directory = directory or DEBIAN_DIRECTORY
    missing = [name for name in FILES if not (directory / name).is_file()]
    if missing:
        raise DatasetMissing(
            f"Fashion-MNIST is not in {directory} (no {missing[0]}). On Debian or Ubuntu: `apt-get install "
            "dataset-fashion-mnist`; elsewhere put its four .gz files anywhere and name the directory with --data"
        )
    train_images, train_labels, test_images, test_labels = (read_idx(directory / name) for name in FILES)
    return Fashion(
        np.concatenate([train_images, test_images]),
        np.concatenate([train_labels, test_labels]),
        train=len(train_images),
    )


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array in a gzipped IDX file of bytes: magic ``00 00 08 dimensions``, sizes, values.

    Raises:
        DatasetMissing: the file is no such thing, or is damaged.
    """
    try:
        data = gzip.decompress(path.read_bytes())
        magic, dimensions = struct.unpack_from(">3sB", data)
        shape = struct.unpack_from(f">{dimensions}I", data, 4)
        if magic != _BYTES_MAGIC:
            raise DatasetMissing(f"{path} is not an IDX file of bytes: get it again")
        return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, zlib.error, struct.error, ValueError) as error:
        raise DatasetMissing(f"{path} is damaged ({error}): get it again") from error
