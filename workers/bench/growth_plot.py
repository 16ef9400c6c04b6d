"""The growth of cost and memory, as a picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workers.bench.growth import Growth, Point

_Size = Callable[[Point], int]


def draw_growth(found: Growth, path: Path) -> None:
    """Write a PNG: the cost of an interaction above, what is kept below, by each of the three sizes."""
    figure = Figure(figsize=(13, 7), layout="constrained")
    (above, below) = figure.subplots(2, 3)
    sweeps: list[tuple[str, list[Point], _Size]] = [
        ("items", found.items, lambda point: point.items),
        ("users", found.users, lambda point: point.users),
        ("interactions in a history", found.histories, lambda point: point.history),
    ]
    for costs, kept, (name, points, size) in zip(above, below, sweeps, strict=True):
        sizes = [size(point) for point in points]
        _draw_costs(costs, sizes, points)
        if name == "items":
            kept.plot(sizes, [point.memory_bytes_per_item for point in points], "o-", label="memory of an item")
            kept.plot(sizes, [point.redis_bytes_per_item for point in points], "o-", label="an item in Redis")
        else:
            kept.plot(sizes, [point.redis_bytes_per_user for point in points], "o-", label="a user in Redis")
        for axes, unit in ((costs, "ms an interaction"), (kept, "bytes")):
            axes.set(xlabel=name, ylabel=unit, xscale="log", ylim=(0, 1.2 * axes.get_ylim()[1]))
            axes.legend()
    figure.savefig(path, dpi=120)


def _draw_costs(axes: Axes, sizes: list[int], points: list[Point]) -> None:
    """Draw medians with the whole range of the steps."""
    for name, costs in (("CPU", [one.cpu_ms for one in points]), ("time", [one.wall_ms for one in points])):
        below = [cost.median - cost.lowest for cost in costs]
        over = [cost.highest - cost.median for cost in costs]
        axes.errorbar(sizes, [cost.median for cost in costs], [below, over], fmt="o-", capsize=3, label=name)
