"""The learning curve of a training, as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from models.checkpoints import Curve


def draw_learning_curves(curves: Mapping[str, Curve], version: Path) -> Path | None:
    """Draw the losses of each stage to a PNG beside the bundle ``version``; None where nothing was trained."""
    if not curves:
        return None
    figure = Figure(figsize=(5 * len(curves), 3.6), layout="constrained")
    for (stage, curve), axes in zip(curves.items(), figure.subplots(1, len(curves), squeeze=False)[0], strict=True):
        epochs = range(1, len(curve.training) + 1)
        axes.plot(epochs, curve.training, label="training")
        measured = [(epoch, loss) for epoch, loss in zip(epochs, curve.validation, strict=True) if loss is not None]
        axes.plot(*zip(*measured, strict=True), label="validation")
        best, lowest = min(measured, key=lambda pair: pair[1])
        axes.plot([best], [lowest], "o", color="C1", label=f"best, kept: {lowest:.4g} after {best}")
        axes.set(title=stage, xlabel="epoch", ylabel="loss", yscale="log" if lowest > 0 else "linear")
        axes.legend()
    path = version.with_name(f"{version.name}-learning-curve.png")
    figure.savefig(path, dpi=120)
    return path
