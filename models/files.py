"""Files of a bundle: arrays as ``.npz`` and network weights as Keras ``.weights.h5``. No pickle in either.

Networks are built by the code here and only their weights are read, so that a file cannot bring code or
layers of its own. What a file says of itself is checked before it is believed: nothing is compressed, nothing
leads to another file, and nothing is larger than the file. Saving the same content gives the same bytes.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays."""
    np.savez(path, allow_pickle=False, **arrays)


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of :func:`save_arrays`.

    Raises:
        ValueError: the file holds objects instead of plain arrays, or is no sound file of arrays.
    """
    try:
        _check_arrays(path)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{path.name} is damaged: {error}") from error
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored.items())


def save_weights(path: Path, model: Any) -> None:
    """Write the weights of a Keras model."""
    model.save_weights(path)


def load_weights(path: Path, model: Any) -> None:
    """Read weights into a Keras model of the same architecture.

    Raises:
        ValueError: they are of another architecture, or the file is not one of plain weights.
    """
    with h5py.File(path, "r") as file:
        total = _checked_bytes(file, path.name)
    if total > path.stat().st_size:
        raise ValueError(f"{path.name} says that it holds {total} bytes, more than it has")
    model.load_weights(path)


def _check_arrays(path: Path) -> None:
    """Raise ValueError unless the arrays are as large as they say and together no larger than the file."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError(f"{path.name} says that it holds more bytes than it has")
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{member.filename} in {path.name} is compressed")
            with archive.open(member) as stream:
                read = npy.read_array_header_1_0 if npy.read_magic(stream) == (1, 0) else npy.read_array_header_2_0
                shape, _, dtype = read(stream)
                if dtype.hasobject or stream.tell() + math.prod(shape) * dtype.itemsize != member.file_size:
                    raise ValueError(f"{member.filename} in {path.name} is not the plain array that it says it is")


def _checked_bytes(group: Any, name: str) -> int:
    """Return the bytes of all numbers in ``group``; raise ValueError where it has anything but plain numbers."""
    total = 0
    for key in group:
        if group.get(key, getclass=True, getlink=True) is not h5py.HardLink:
            raise ValueError(f"{key} in {name} leads somewhere else")
        member = group[key]
        if isinstance(member, h5py.Group):
            total += _checked_bytes(member, name)
        elif member.external or member.is_virtual or member.compression or member.dtype.kind not in "fiu":
            raise ValueError(f"{key} in {name} is not plain numbers in this file")
        else:
            total += member.nbytes
    return total
