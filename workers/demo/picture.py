"""One PNG that shows what the codes of images keep, which images are alike, and which are unlike all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

Pixels = NDArray[np.float32]

_CELL_INCHES: Final = 0.95
_TITLE_INCHES: Final = 0.4
_HEAD_INCHES: Final = 0.55
# The second line of a note.
_NOTE_INCHES: Final = 0.15
_MARGIN: Final = 0.012
_DPI: Final = 110
_LABEL_SIZE: Final = 9
_NOTE_SIZE: Final = 8
_GREY: Final = "0.35"


@dataclass(frozen=True, slots=True)
class Example:
    """An image, what its code decodes to, and the images whose codes are nearest; each ``[height, width]`` in [0, 1].

    ``neighbours`` is empty where they are not shown.
    """

    note: str
    original: Pixels
    decoded: Pixels
    neighbours: Sequence[tuple[str, Pixels]] = ()


def draw(path: Path, title: str, typical: Sequence[Example], unusual: Sequence[Example]) -> None:
    """Write the PNG: ``typical`` images with their neighbours, and below the ``unusual`` ones.

    Raises:
        ValueError: one of the two is empty.
    """
    if not typical or not unusual:
        raise ValueError("there is nothing to draw")
    rows = ["original", "decoded", *_nearest_names(typical)]
    columns = max(len(typical), len(unusual))
    heights = [_HEAD_INCHES + len(rows) * _CELL_INCHES, _HEAD_INCHES + _NOTE_INCHES + 2 * _CELL_INCHES]
    figure = Figure(figsize=((columns + 1) * _CELL_INCHES, _TITLE_INCHES + sum(heights)), facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(3, 1, height_ratios=[_TITLE_INCHES, *heights], hspace=0)
    heading = figure.add_subfigure(grid[0])
    heading.text(_MARGIN, 0.45, title, ha="left", va="center", fontsize=13, fontweight="bold")
    _section(
        figure.add_subfigure(grid[1]),
        "What the codes keep, and the nearest images by their codes",
        rows,
        [_column(example) for example in typical],
        (columns, heights[0], 0.0),
    )
    _section(
        figure.add_subfigure(grid[2]),
        "Most anomalous: the largest mean squared errors between original and decoded",
        rows[:2],
        [_column(example)[:2] for example in unusual],
        (columns, heights[1], _NOTE_INCHES),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI)


def _nearest_names(examples: Sequence[Example]) -> list[str]:
    return [f"nearest {n}" for n in range(1, 1 + max(len(example.neighbours) for example in examples))]


def _column(example: Example) -> list[tuple[str, Pixels]]:
    return [(example.note, example.original), ("", example.decoded), *example.neighbours]


def _section(
    figure: SubFigure,
    heading: str,
    row_names: Sequence[str],
    images: Sequence[Sequence[tuple[str, Pixels]]],
    size: tuple[int, float, float],
) -> None:
    """Draw a grid with a column for each list of images.

    ``size`` is the number of columns, the height in inches, and the inches that notes take beyond a line.
    """
    columns, height, notes = size
    figure.text(_MARGIN, 1 - 0.1 / height, heading, ha="left", va="top", fontsize=11)
    grid = figure.add_gridspec(
        *(len(row_names), columns),
        left=1 / (columns + 1),
        right=1 - _MARGIN,
        bottom=0.08 / height,
        top=1 - (_HEAD_INCHES + notes) / height,
        wspace=0.08,
        hspace=0.2,
    )
    for column, cells in enumerate(images):
        for row, (note, pixels) in enumerate(cells):
            axes = figure.add_subplot(grid[row, column])
            _show(axes, note, pixels)
            if column == 0:
                axes.set_ylabel(row_names[row], rotation=0, ha="right", va="center", fontsize=_LABEL_SIZE, color=_GREY)


def _show(axes: Axes, note: str, pixels: Pixels) -> None:
    axes.imshow(pixels, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("0.85")
    if note:
        axes.set_title(note, fontsize=_NOTE_SIZE, pad=2, color=_GREY)
