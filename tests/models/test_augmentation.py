from __future__ import annotations

import numpy as np
import pytest

from models.augmentation import shifted


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_images_move_by_at_most_a_pixel(shape: tuple[int, ...]) -> None:
    rows = np.arange(200 * np.prod(shape), dtype=np.float32).reshape(200, -1)
    moved = shifted(rows, shape, 0.5, np.random.default_rng(0)).reshape(200, *shape)
    pictures = rows.reshape(200, *shape)
    seen = set()
    for before, after in zip(pictures, moved, strict=True):
        ways = [
            (down, right)
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
            if np.array_equal(np.roll(before, (-down, -right), (0, 1))[1:-1, 1:-1], after[1:-1, 1:-1])
        ]
        assert len(ways) == 1
        assert set(after.ravel()) <= set(before.ravel())
        seen.add(ways[0])
    assert len(seen) == 9
    still = np.mean([np.array_equal(*pair) for pair in zip(pictures, moved, strict=True)])
    assert 0.45 < still < 0.65  # half, and a ninth of the rest


def test_rows_that_are_no_images_stay_as_they_are() -> None:
    rows = np.ones((3, 4), np.float32)
    assert shifted(rows, (4,), 1.0, np.random.default_rng(0)) is rows
    assert shifted(rows, (2, 2), 0.0, np.random.default_rng(0)) is rows
