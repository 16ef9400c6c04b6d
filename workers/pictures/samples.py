"""Generated images beside the real ones that are nearest to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from models.arrays import Floats

_CELL: Final = 0.9


def draw_samples(
    samples: Floats, neighbours: Floats, names: Sequence[Sequence[str]], shape: tuple[int, ...], title: str, path: Path
) -> None:
    """Write a picture of samples ``[n, pixels]``, each before its neighbours ``[n, k, pixels]`` and their names."""
    count = neighbours.shape[1]
    # Two samples side by side keep the picture from being a long strip.
    halves = 2 if len(samples) > 1 else 1
    rows = -(-len(samples) // halves)
    columns = halves * (count + 2) - 1
    figure = Figure(figsize=(_CELL * columns, _CELL * 1.15 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.ravel():
        axis.axis("off")
    for number, sample in enumerate(samples):
        half, row = divmod(number, rows)
        first = half * (count + 2)
        _show(axes[row, first], sample, shape, "new")
        for place in range(count):
            _show(axes[row, first + 1 + place], neighbours[number, place], shape, names[number][place])
    figure.suptitle(title)
    figure.savefig(path, dpi=130)


def _show(axis: Any, pixels: Floats, shape: tuple[int, ...], name: str) -> None:
    image = pixels.reshape(shape[:2] if shape[2:] in ((), (1,)) else shape)
    axis.imshow(image.clip(0, 1), cmap="gray" if image.ndim == 2 else None, vmin=0, vmax=1)
    axis.set_title(name[:16], fontsize=5, pad=1.5, color="tab:red" if name == "new" else "black")
