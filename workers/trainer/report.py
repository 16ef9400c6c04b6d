"""The report of a training: one HTML file that needs nothing else, beside the bundle in the registry."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from models.arrays import Ints, Mask, unit_rows
from models.bundle import Bundle
from models.compression_baselines import PcaInt8
from models.splits import split_items
from models.training import TrainingData
from workers.last_training import LastTraining
from workers.pictures.learning_curve import learning_curves
from workers.pictures.training_report import Point, Segment, draw_map, draw_rate_distortion, draw_segments
from workers.trainer.challenge import Challenge, Judged, Task
from workers.trainer.judging import K, gains

_LENGTHS: Final = (1, 5, 20, 100)
_OWNERS: Final = (0, 1, 10, 100)
# Of more items than this a picture shows a random choice, and PCA is fitted on one.
_MOST_ITEMS: Final = 20_000
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
img {{ max-width: 100%; }} td {{ padding: .1rem 1.5rem .1rem 0; vertical-align: top; }}
.promoted {{ color: #187a2f; }} .refused {{ color: #b3261e; }}
</style></head><body>
<h1>{title}</h1>
<p><strong class="{outcome}">{outcome}</strong>: {why}</p>
{body}
</body></html>
"""


def write_report(task: Task, made: Challenge, champion: Bundle | None, last: LastTraining) -> Path:
    """Write the report of a training into the registry, and return its path here."""
    data, judged = task.data, made.judged
    owners = _owners(data, judged.until if judged is not None else np.inf)
    pictures: dict[str, Figure] = {}
    if made.trained.curves:
        pictures["Learning curves"] = learning_curves(made.trained.curves)
    if judged is not None:
        pictures["Quality by segment"] = draw_segments(_segments(judged, owners, data, champion), f"NDCG@{K}")
    if (figure := _rate_distortion(data, made.bundle, champion)) is not None:
        pictures["Rate and distortion"] = figure
    if (figure := _map(data, made.bundle, owners)) is not None:
        pictures["Latent map"] = figure
    body = _table(_facts(made, champion))
    body += "".join(f"<h2>{html.escape(title)}</h2>{_image(title, figure)}" for title, figure in pictures.items())
    path = task.registry.report_path(made.bundle.version)
    path.write_text(
        _PAGE.format(title=html.escape(made.bundle.version), outcome=last.outcome, why=html.escape(last.why), body=body)
    )
    task.registry.publish_report(made.bundle.version)
    return path


def _facts(made: Challenge, champion: Bundle | None) -> dict[str, str]:
    report, until = made.trained.report, made.trained.until
    facts = {
        "current model before": champion.version if champion is not None else "none",
        "trained on": f"{report.items:,} items ({report.items_with_features:,} with features), {report.users:,} users,"
        f" {report.interactions:,} interactions",
    }
    if until is not None:
        facts["up to"] = f"{datetime.fromtimestamp(until, UTC).isoformat(timespec='seconds')}"
    facts |= {name.replace("_", " "): f"{value:.4g}" for name, value in report.metrics.items()}
    return facts | {f"note {number}": note for number, note in enumerate(report.notes, 1)}


def _segments(judged: Judged, owners: Ints, data: TrainingData, champion: Bundle | None) -> dict[str, list[Segment]]:
    """Return the quality by what the user has, by how many have the item, and by whether the item is new."""
    asked, counts = judged.asked, owners[judged.asked.items]
    groups = {
        "by length of the history": _ranges(judged, asked.histories.lengths, _LENGTHS),
        "by interactions of the item": _ranges(judged, counts, _OWNERS),
    }
    if champion is not None:
        known = np.array([data.item_ids[item] in champion.space.vocabulary for item in asked.items.tolist()])
        both = {"known to the current model": known, "not known": ~known}
        groups["by whether the item is new"] = [
            _segment(judged, name, rows) for name, rows in both.items() if rows.any()
        ]
    return groups


def _ranges(judged: Judged, values: Ints, edges: tuple[int, ...]) -> list[Segment]:
    segments = []
    for low, high in zip(edges, [*edges[1:], None], strict=True):
        rows = (values >= low) & (values < high) if high is not None else values >= low
        name = f"{low}+" if high is None else str(low) if high == low + 1 else f"{low}-{high - 1}"
        if rows.any():
            segments.append(_segment(judged, name, rows))
    return segments


def _segment(judged: Judged, name: str, rows: Mask) -> Segment:
    champion = None if judged.champion is None else float(gains(judged.champion[rows]).mean())
    return Segment(name, int(rows.sum()), float(gains(judged.challenger[rows]).mean()), champion)


def _rate_distortion(data: TrainingData, bundle: Bundle, champion: Bundle | None) -> Figure | None:
    """Return the error of the models' codes on the test items, beside PCA with a byte for each component."""
    if bundle.content is None or data.features is None:
        return None
    rows = np.flatnonzero(data.has_features)
    training, _, test = (rows[part] for part in split_items([data.item_ids[row] for row in rows]))
    fitted, tested = data.features[_some(training)], data.features[_some(test)]
    curve = []
    for size in _SIZES:
        if size > fitted.shape[1]:
            break
        pca = PcaInt8(fitted, size)
        curve.append(
            Point("PCA, a byte a component", size, float(((pca.decode(pca.encode(tested)) - tested) ** 2).mean()))
        )
    points = []
    for name, model in (("new model", bundle), ("current model", champion)):
        content = model.content if model is not None else None
        if content is not None and content.input_shape == data.input_shape:
            points.append(Point(name, content.code_bytes, float(content.encode(tested).errors.mean())))
    return draw_rate_distortion(curve, points)


def _map(data: TrainingData, bundle: Bundle, owners: Ints) -> Figure | None:
    """Return where the model places the items."""
    rows = _some(np.arange(len(data.item_ids)))
    latents, has, content = None, np.zeros(len(rows), bool), bundle.content
    if content is not None and data.features is not None:
        has = data.has_features[rows]
        latents = np.zeros((len(rows), content.latent_dim), np.float32)
        latents[has] = content.latents(content.codes(data.features[rows[has]]))
    placed = bundle.space.place([data.item_ids[row] for row in rows], latents, has)
    if placed.known.sum() < 3:
        return None
    vectors = unit_rows(np.ascontiguousarray(placed.retrieval[placed.known, :-1]))
    return draw_map(vectors, owners[rows[placed.known]])


def _some(rows: Ints) -> Ints:
    return rows if len(rows) <= _MOST_ITEMS else np.sort(np.random.default_rng(0).choice(rows, _MOST_ITEMS, False))


def _owners(data: TrainingData, until: float) -> Ints:
    """Return how many interactions each item has up to ``until``."""
    if data.interactions is None:
        return np.zeros(len(data.item_ids), np.int64)
    items = data.interactions.items[data.interactions.timestamps <= until]
    return np.bincount(items, minlength=len(data.item_ids))


def _table(facts: Mapping[str, str]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in facts.items()
    )
    return f"<table>{rows}</table>"


def _image(title: str, figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return (
        f'<img alt="{html.escape(title)}" src="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}">'
    )
