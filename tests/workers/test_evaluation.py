from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.models.test_content_training import RESIDUAL, curved
from workers.evaluation import compression


def test_every_method_is_measured_at_the_same_bytes_and_drawn(tmp_path: Path) -> None:
    rows = compression.Rows("torus", curved(1500), (24,), 1200, neighbours=True)
    found = list(
        compression.measure(
            rows,
            [2],
            lambda size: RESIDUAL.model_copy(update={"code_bytes": size, "codec_epochs": 2}),
            lambda _: lambda *_: None,
        )
    )
    assert {row.bytes_per_item for row in found} == {2}
    assert [row.method for row in found if not row.baseline] == ["latentstream"]
    assert {row.method for row in found if row.baseline} > {"PCA + int8", "FAISS PQ", "FAISS OPQ"}
    variance = float(np.var(rows.features[1200:], axis=0).mean())
    for row in found:
        assert 0 < row.mse < variance, row
        assert row.recall_at_10 is not None
        assert 10 / 300 < row.recall_at_10 < 1, row
    compression.draw(found, rows.name, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
