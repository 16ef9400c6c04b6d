"""``latentstream evaluate``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer
from rich.console import Console

from schemas.model_settings import ContentSettings

if TYPE_CHECKING:  # Importing it for real imports TensorFlow.
    from models.fitting import ReportEpoch
    from workers.evaluation.compression import Row

app = typer.Typer(help="Measure what the autoencoders are for, each against its baseline.", no_args_is_help=True)

_JSON = typer.Option("--json", help="Print JSON on standard output.")


@app.callback()
def evaluate() -> None:
    """Measure what the autoencoders are for, each against its baseline in the same run."""


@app.command()
def compression(
    dataset: Annotated[
        Literal["fashion-mnist", "glove"], typer.Option(help="Images, or vectors of words.")
    ] = "fashion-mnist",
    data: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="Where the data set is.")] = None,
    sizes: Annotated[list[int] | None, typer.Option("--bytes", min=1, max=1024, help="Bytes a code.")] = None,
    plot: Annotated[Path, typer.Option(dir_okay=False, help="The rate-distortion plot.")] = Path("compression.png"),
    epochs: Annotated[int | None, typer.Option(min=1, help="Fewer for a quick look.")] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Compare our codes with PCA, product quantisation and residual quantisation at the same bytes.

    Errors are means over test items that no method has seen, in squared units of the features. For vectors
    recall_at_10 is the share of the ten nearest test items that are still among the ten nearest when they
    are looked for among the decoded ones. Training takes up to 20 minutes a size on two cores.
    """
    from workers.evaluation import compression

    rows = compression.fashion_mnist(data) if dataset == "fashion-mnist" else compression.glove(data)

    def settings(size: int) -> ContentSettings:
        chosen = compression.ours(size, rows.train, rows.features.shape[1])
        return chosen.model_copy(update={"codec_epochs": epochs, "tuning_epochs": 1}) if epochs else chosen

    found = []
    for row in compression.measure(rows, sizes or [16, 32], settings, _reporter(Console(stderr=True))):
        found.append(row)
        if not as_json:
            typer.echo(_line(row))
    compression.draw(found, rows.name, plot)
    if as_json:
        typer.echo(msgspec.json.encode(found))
    else:
        typer.echo(f"plot: {plot}")


def _line(row: Row) -> str:
    return (
        f"{row.bytes_per_item:4} bytes  {row.method:24} mse {row.mse:.5f}  trained in {row.train_seconds:6.1f} s  "
        + (f"recall@10 {row.recall_at_10:.3f}  " if row.recall_at_10 is not None else "")
        + f"encodes {row.encode_items_per_s:9,.0f}/s  decodes {row.decode_items_per_s:9,.0f}/s"
    )


def _reporter(screen: Console) -> Callable[[str], ReportEpoch]:
    """Return what says how far a training is, where standard error is a terminal."""

    def stage_reporter(stage: str) -> ReportEpoch:
        def report(done: int, total: int, note: str) -> None:
            if screen.is_terminal:
                screen.print(f"{stage}: {done} of at most {total} epochs, {note}", end="\r")

        return report

    return stage_reporter
