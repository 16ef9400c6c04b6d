"""The picture, on toy images."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from workers.demo.picture import Example, draw


def _example(grey: float, neighbours: int) -> Example:
    pixels = np.full((4, 4), grey, np.float32)
    return Example("a kind\n0.123", pixels, 1 - pixels, [("near", pixels)] * neighbours)


def test_every_image_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "new" / "picture.png"
    # Greys that neither the frame nor the text has.
    draw(path, "Title", [_example(0.0, 2), _example(0.25, 2)], [_example(0.4, 0)])
    image = imread(path)
    assert image.shape[0] > image.shape[1] > 100
    shades = {round(255 * float(value)) for value in np.unique(image[..., 0])}
    # `gray_r` paints x as 1 - x; each image and its decoded inverse.
    assert {255, 0, 191, 64, 153, 102} <= shades
    whole = np.all(image[..., :3] == image[0, 0, :3], axis=-1)
    assert whole.mean() < 0.9


def test_nothing_to_draw_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        draw(tmp_path / "picture.png", "Title", [], [_example(0.5, 0)])
