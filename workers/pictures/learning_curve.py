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
    path = version.with_name(f"{version.name}-learning-curve.png")
    learning_curves(curves).savefig(path, dpi=120)
    return path


def learning_curves(curves: Mapping[str, Curve]) -> Figure:
    """Return a picture of the losses of each stage; of what is the better the larger, an axis of its own."""
    figure = Figure(figsize=(5 * len(curves), 3.6), layout="constrained")
    for (stage, curve), axes in zip(curves.items(), figure.subplots(1, len(curves), squeeze=False)[0], strict=True):
        epochs = range(1, len(curve.training) + 1)
        (line,) = axes.plot(epochs, curve.training, label="training")
        measured = [(epoch, loss) for epoch, loss in zip(epochs, curve.validation, strict=True) if loss is not None]
        best, lowest = min(measured, key=lambda pair: pair[1])
        axes.set(title=stage, xlabel="epoch", ylabel="loss", yscale="log" if lowest > 0 else "linear")
        beside, sign = (axes, 1) if lowest > 0 else (axes.twinx(), -1)
        shown = [(epoch, sign * value) for epoch, value in measured]
        (validation,) = beside.plot(*zip(*shown, strict=True), color="C1", label="validation")
        kept = f"best, kept: {sign * lowest:.4g} after {best}"
        (point,) = beside.plot([best], [sign * lowest], "o", color="C1", label=kept)
        if sign < 0:
            beside.set_ylabel("validation NDCG@20")
        axes.legend(handles=[line, validation, point])
    return figure
