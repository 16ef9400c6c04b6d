"""The pictures of a training's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from models.arrays import Doubles, Floats, Ints

_CHAMPION, _CHALLENGER = "C7", "C0"
_SIZE: Final = (5.0, 3.6)


class Segment(NamedTuple):
    """Some of the questions: how many, and the mean quality of each model; the champion's is None without one."""

    name: str
    questions: int
    challenger: float
    champion: float | None


def draw_segments(groups: Mapping[str, Sequence[Segment]], measure: str) -> Figure:
    """Return bars of a measure of the quality of both models, by what the groups divide the questions by."""
    figure = Figure(figsize=(_SIZE[0] * len(groups), _SIZE[1]), layout="constrained")
    first, *others = figure.subplots(1, len(groups), squeeze=False, sharey=True)[0]
    for axes, (title, segments) in zip([first, *others], groups.items(), strict=True):
        places = np.arange(len(segments))
        both = any(segment.champion is not None for segment in segments)
        width = 0.4 if both else 0.8
        if both:
            values = [segment.champion or 0.0 for segment in segments]
            axes.bar(places - width / 2, values, width, color=_CHAMPION, label="current model")
        shift = width / 2 if both else 0
        axes.bar(places + shift, [segment.challenger for segment in segments], width, color=_CHALLENGER, label="new")
        names = [f"{segment.name}\n({segment.questions:,})" for segment in segments]
        axes.set_xticks(places, names, fontsize=8)
        axes.set_title(title)
    first.set_ylabel(measure)
    first.legend()
    return figure


class Point(NamedTuple):
    """A way to compress: bytes of a code, and the mean squared error of what is decoded from it."""

    name: str
    code_bytes: int
    error: float


def draw_rate_distortion(curve: Sequence[Point], points: Sequence[Point]) -> Figure:
    """Return error over bytes: a curve that goes through several sizes, and single points."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    if curve:
        sizes, errors = [point.code_bytes for point in curve], [point.error for point in curve]
        axes.plot(sizes, errors, ".-", color="C2", label=curve[0].name)
    for point, colour, marker in zip(points, (_CHALLENGER, _CHAMPION), ("o", "s"), strict=False):
        label = f"{point.name}: {point.error:.4g}"
        axes.plot([point.code_bytes], [point.error], marker, color=colour, ms=9, fillstyle="none", mew=2, label=label)
    everything = [point.error for point in (*curve, *points)]
    axes.set(title="Rate and distortion, test items", xlabel="bytes of a code", ylabel="mean squared error")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set_yscale("log" if min(everything) > 0 else "linear")
    axes.legend()
    return figure


def draw_map(vectors: Floats, counts: Ints) -> Figure:
    """Return the directions of items ``[n, dim]`` on their first two principal components, by their popularity."""
    wide: Doubles = vectors.astype(np.float64)
    centred = wide - wide.mean(axis=0)
    _, axes_of = np.linalg.eigh(centred.T @ centred)
    flat = centred @ axes_of[:, ::-1][:, :2]
    if flat.shape[1] < 2:
        flat = np.pad(flat, ((0, 0), (0, 1)))
    figure = Figure(figsize=(6.0, 4.6), layout="constrained")
    axes = figure.subplots()
    new = counts == 0
    order = np.argsort(counts[~new])
    known = flat[~new][order]
    shown = axes.scatter(known[:, 0], known[:, 1], 6, c=np.log10(counts[~new][order]), cmap="viridis")
    figure.colorbar(shown, label="log10 of the interactions trained on")
    if new.any():
        axes.scatter(flat[new, 0], flat[new, 1], 10, facecolors="none", edgecolors="C3", linewidths=0.6, label="new")
        axes.legend()
    axes.set(title=f"Latent map of {len(flat):,} items", xlabel="1st component", ylabel="2nd component")
    return figure
