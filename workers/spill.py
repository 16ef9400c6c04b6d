"""Arrays that grow on disk: rows are appended to a file and read back as a memory map."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_BUFFER_BYTES: Final = 1 << 20
# In the registry, which has room for models. No version begins with a dot.
_DIRECTORY: Final = ".reading-"


class Spill:
    """Rows of one dtype and shape in a raw file, which is not there before the first row."""

    def __init__(self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...] = ()) -> None:
        self._path = path
        self._dtype = dtype
        self._shape = shape
        self._file = path.open("wb", buffering=_BUFFER_BYTES)
        self._rows = 0

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._rows

    def append(self, row: NDArray[Any]) -> int:
        """Add a row, and return its number."""
        if row.shape != self._shape:
            raise ValueError(f"a row has the shape {list(self._shape)}, not {list(row.shape)}")
        self._file.write(np.ascontiguousarray(row, self._dtype).data)
        self._rows += 1
        return self._rows - 1

    def read(self) -> NDArray[Any]:
        """Return all rows so far, not to be written to; no memory is taken but for what is touched."""
        self._file.flush()
        if not self._rows or 0 in self._shape:
            return np.empty((self._rows, *self._shape), self._dtype)
        return np.asarray(np.memmap(self._path, self._dtype, "r", shape=(self._rows, *self._shape)))

    def close(self) -> None:
        """Close the file; what was read stays readable as long as it is used."""
        self._file.close()


@contextmanager
def spill_directory(root: Path, owner: str) -> Iterator[Path]:
    """Give a directory under ``root`` that is gone at the end of the ``with`` block.

    So are those of the same ``owner`` that were left behind by a process that was killed: one at a time has any.
    """
    root.mkdir(parents=True, exist_ok=True)
    prefix = f"{_DIRECTORY}{owner}-"
    for left in root.glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)
    path = Path(tempfile.mkdtemp(dir=root, prefix=prefix))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
