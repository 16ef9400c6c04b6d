"""``latentstream evaluate``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer
from rich.console import Console

from schemas.model_settings import ContentSettings
from workers.cli.evaluate_recommendation import recommendation
from workers.cli.evaluate_retraining import retraining
from workers.cli.terminal import console, epoch_reporter, printable

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
    for row in compression.measure(rows, sizes or [16, 32], settings, epoch_reporter(Console(stderr=True))):
        found.append(row)
        if not as_json:
            typer.echo(_line(row))
    compression.draw(found, rows.name, plot)
    if as_json:
        typer.echo(msgspec.json.encode(found))
    else:
        typer.echo(f"plot: {plot}")


@app.command()
def anomaly(
    data: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Directory of data sets, a file NAME.npz each.")
    ],
    seeds: Annotated[int, typer.Option(min=1, help="Random halves of the usual items that are averaged.")] = 5,
    epochs: Annotated[int | None, typer.Option(min=1, help="Fewer for a quick look.")] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Tell anomalies from usual items, and compare with the distance to the fifth nearest item (kNN).

    A file has the arrays X (numbers, a row an item) and y (1 for an anomaly, else 0), as ADBench's have. A random
    half of the usual items trains; the other half and all anomalies test. Figures are percentages. False alarms
    are usual test items above the limit, which was set on training items for 5%.
    """
    from workers.evaluation import anomaly

    screen = console(stderr=True)
    rows = []
    for found in anomaly.load(data):
        settings = anomaly.ours(found.features.shape[1])
        chosen = settings.model_copy(update={"epochs": epochs}) if epochs else settings
        row = anomaly.measure(found, seeds, chosen, _seed_reporter(screen, found.name, seeds))
        rows.append(row)
        if not as_json:
            typer.echo(_anomaly_line(row.dataset, row.auroc, row.knn, row.false_alarms))
    summary = anomaly.Summary.of(rows, settings.false_alarm_rate)
    if as_json:
        typer.echo(msgspec.json.encode(summary))
    else:
        typer.echo(_anomaly_line("mean", summary.mean_auroc, summary.knn_mean_auroc, summary.mean_false_alarms))


def _anomaly_line(name: str, auroc: float, knn: float, false_alarms: float) -> str:
    return f"{printable(name):20} AUROC {auroc:6.2f}  kNN {knn:6.2f}  false alarms {false_alarms:5.2f}%"


def _seed_reporter(screen: Console, name: str, seeds: int) -> Callable[[int, str], ReportEpoch]:
    """Return what says how far a data set is, where standard error is a terminal."""

    def reporter(seed: int, stage: str) -> ReportEpoch:
        return epoch_reporter(screen)(printable(f"{name}, half {seed + 1} of {seeds}: {stage}"))

    return reporter


@app.command()
def denoising(
    data: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="Where Fashion-MNIST is.")] = None,
    corruption: Annotated[
        Literal["gaussian", "masking", "salt-and-pepper"], typer.Option(help="Kind of the noise.")
    ] = "gaussian",
    amount: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=1,
            help="Standard deviation in units of the pixels, 0 to 1, if gaussian; else the share of pixels hit.",
        ),
    ] = None,
    plot: Annotated[Path, typer.Option(dir_okay=False, help="Images before and after.")] = Path("denoising.png"),
    items: Annotated[int | None, typer.Option(min=100, help="Fewer images for a quick look.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Fewer for a quick look.")] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Take noise out of images, and compare with filters whose strength was tuned on training images.

    All methods see the same noisy test images. Figures are means over these: PSNR in dB, and SSIM.
    """
    from workers.evaluation import denoising, images

    loaded = images.load(data, items)
    level = denoising.AMOUNTS[corruption] if amount is None else amount
    settings = denoising.ours(corruption, level, loaded)
    if epochs:
        settings = settings.model_copy(update={"epochs": epochs})
    measured = denoising.measure(loaded, corruption, level, settings, epoch_reporter(Console(stderr=True)))
    denoising.draw(measured, plot)
    result = measured.result
    if as_json:
        typer.echo(msgspec.json.encode(result))
        return
    for name, quality in {"noisy": result.noisy, **result.filters, "latentstream": result.latentstream}.items():
        typer.echo(f"{name:16} PSNR {quality.psnr:5.2f} dB  SSIM {quality.ssim:.4f}")
    typer.echo(f"plot: {plot}")


@app.command()
def reduction(
    data: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="Where Fashion-MNIST is.")] = None,
    widths: Annotated[list[int] | None, typer.Option("--width", min=1, max=512, help="Numbers for an image.")] = None,
    plot: Annotated[Path, typer.Option(dir_okay=False, help="Maps of the images, if a width is 2.")] = Path(
        "reduction.png"
    ),
    items: Annotated[int | None, typer.Option(min=100, help="Fewer images for a quick look.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Fewer for a quick look.")] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Reduce images to a few numbers, and compare with PCA at the same width.

    neighbour_accuracy is the share of test images that are what most of the 10 nearest training images are, as
    neighbours in the latent space.
    """
    from workers.evaluation import images, reduction

    loaded = images.load(data, items)

    def settings(width: int) -> ContentSettings:
        chosen = reduction.ours(width)
        return chosen.model_copy(update={"epochs": epochs}) if epochs else chosen

    rows, maps = [], {}
    for row, latents in reduction.measure(
        loaded, widths or reduction.WIDTHS, settings, epoch_reporter(Console(stderr=True))
    ):
        rows.append(row)
        if row.width == 2:
            maps[row.method] = latents
        if not as_json:
            typer.echo(
                f"{row.width:4} wide  {row.method:12}  mse {row.mse:.5f}  neighbour accuracy"
                f" {row.neighbour_accuracy:.4f}  trained in {row.train_seconds:6.1f} s"
            )
    if maps:
        reduction.draw(maps, loaded, plot)
    if as_json:
        typer.echo(msgspec.json.encode(rows))
    elif maps:
        typer.echo(f"plot: {plot}")


@app.command()
def generation(
    data: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="Where Fashion-MNIST is.")] = None,
    plot: Annotated[Path, typer.Option(dir_okay=False, help="Samples and the real images nearest to them.")] = Path(
        "generation.png"
    ),
    items: Annotated[int | None, typer.Option(min=1000, help="Fewer images for a quick look.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Fewer for a quick look.")] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Make images up, and compare them with samples of distributions of principal components.

    frechet is the Fréchet distance to the test images, in the features of a classifier of clothes; copy_ratio is
    how far samples are from the nearest training image, as a multiple of how far test images are.
    """
    from workers.evaluation import generation, images

    loaded = images.load(data, items)
    settings = generation.ours()
    if epochs:
        settings = settings.model_copy(update={"epochs": epochs})
    generated = generation.measure(loaded, settings, epoch_reporter(Console(stderr=True)))
    generation.draw(generated, loaded, plot)
    result = generated.result
    if as_json:
        typer.echo(msgspec.json.encode(result))
        return
    for name, quality in {
        "latentstream": result.latentstream,
        "standard prior": result.prior,
        "PCA, normal": result.pca_gaussian,
        "PCA, mixture": result.pca_mixture,
        "training images": result.real,
    }.items():
        typer.echo(f"{name:16} Fréchet distance {quality.frechet:8.3f}  copy ratio {quality.copy_ratio:.2f}")
    typer.echo(f"active units: {result.active_units:.0f} of {result.width}, {result.kl_nats:.1f} nats an image")
    typer.echo(f"plot: {plot}")


@app.command()
def pretraining(
    data: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="Where Fashion-MNIST is.")] = None,
    labels: Annotated[list[int] | None, typer.Option(min=1, help="Labelled images of each class.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Choices of the labelled images that are averaged.")] = 3,
    items: Annotated[int | None, typer.Option(min=1000, help="Fewer images for a quick look.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Fewer for a quick look.")] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Start a classifier with an encoder trained without labels, and compare with the same network from scratch."""
    from workers.evaluation import images, pretraining

    loaded = images.load(data, items)
    settings = pretraining.ours()
    if epochs:
        settings = settings.model_copy(update={"epochs": epochs})
    rows = []
    for row in pretraining.measure(
        loaded, labels or pretraining.LABELS, repeats, settings, epoch_reporter(Console(stderr=True))
    ):
        rows.append(row)
        if not as_json:
            typer.echo(
                f"{row.labels_a_class:4} labels a class  pretrained {row.pretrained:.4f}"
                f" ±{row.pretrained_deviation:.4f}  from scratch {row.scratch:.4f} ±{row.scratch_deviation:.4f}"
            )
    if as_json:
        typer.echo(msgspec.json.encode(rows))


def _line(row: Row) -> str:
    return (
        f"{row.bytes_per_item:4} bytes  {row.method:24} mse {row.mse:.5f}  trained in {row.train_seconds:6.1f} s  "
        + (f"recall@10 {row.recall_at_10:.3f}  " if row.recall_at_10 is not None else "")
        + f"encodes {row.encode_items_per_s:9,.0f}/s  decodes {row.decode_items_per_s:9,.0f}/s"
    )


app.command()(recommendation)
app.command()(retraining)
