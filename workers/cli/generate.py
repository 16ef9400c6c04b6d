"""``latentstream generate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
import typer

from schemas.keys import Keys
from schemas.settings import Settings
from workers.cli import terminal
from workers.cli.bundles import load_content
from workers.cli.errors import CommandFailed
from workers.cli.stored_items import StoredCodes, StoredItems

if TYPE_CHECKING:  # Importing it for real imports TensorFlow.
    from models.arrays import Floats
    from models.content import ContentModel

_NEIGHBOURS: Final = 3
_MOST: Final = 1000
_DRAWN: Final = 100


def generate(
    output: Annotated[
        Path, typer.Option("--output", "-o", dir_okay=False, help="A .png, if the items are images, or a .npy.")
    ],
    count: Annotated[int, typer.Option(min=1, max=_MOST, help="Samples.")] = 16,
    near: Annotated[str | None, typer.Option(metavar="ITEM", help="Sample around this item.")] = None,
    spread: Annotated[float, typer.Option(min=0, help="How far around, with --near; 1 is as wide as all items.")] = 0.3,
    between: Annotated[
        tuple[str, str] | None, typer.Option(metavar="ITEM ITEM", help="Go from one item to another in COUNT steps.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another one gives other samples.")] = 0,
) -> None:
    """Make new items up with the current model, and find the stored items that are nearest to each.

    A .png shows each sample before its nearest items, as their stored codes decode. A .npy holds the features of
    the samples, float32 [count, features]. Samples of the whole catalogue need a model of the kind variational.
    """
    if output.suffix not in {".png", ".npy"}:
        raise typer.BadParameter(f"{output} must end in .png or .npy")
    if near is not None and between is not None:
        raise typer.BadParameter("--near and --between exclude each other")
    if not output.parent.is_dir():
        raise typer.BadParameter(f"{output.parent} is not a directory")
    settings = Settings()
    version, model = load_content(settings, None)
    _check(version, model, output, whole=near is None and between is None)
    from workers import connections

    items = StoredItems(connections.redis_client(settings.redis), Keys(settings.redis.prefix))
    stored = items.codes()
    if not stored.ids:
        raise CommandFailed(f"no item has a code of the model {version}: run `latentstream worker encoder` first")
    latents = model.latents(stored.codes)
    chosen = _chosen(stored, latents, count, seed, near, spread, between)
    _write(model, chosen, stored, latents, output)


def _check(version: str, model: ContentModel, output: Path, *, whole: bool) -> None:
    if whole and model.config.kind != "variational":
        raise CommandFailed(
            f"the model {version} is of the kind {model.config.kind}, whose latents have no known distribution: train"
            " one with LATENTSTREAM_MODEL__CONTENT__KIND=variational, or use --near or --between"
        )
    if output.suffix == ".png" and len(model.input_shape) == 1:
        raise CommandFailed(f"items of {model.input_dim} features are no images: write a .npy")


def _chosen(
    stored: StoredCodes,
    latents: Floats,
    count: int,
    seed: int,
    near: str | None,
    spread: float,
    between: tuple[str, str] | None,
) -> Floats:
    from models.generation import LatentDensity, interpolated

    def latent_of(item: str) -> Floats:
        if item not in stored.ids:
            raise CommandFailed(f"there is no item {terminal.printable(item)!r} with a code of the current model")
        latent: Floats = latents[stored.ids.index(item)]
        return latent

    if between is not None:
        return interpolated(latent_of(between[0]), latent_of(between[1]), count)
    density = LatentDensity(latents)
    if near is not None:
        return density.around(latent_of(near), spread, count, seed)
    return density.sample(count, seed)


def _write(model: ContentModel, chosen: Floats, stored: StoredCodes, latents: Floats, output: Path) -> None:
    from models.generation import nearest

    samples = model.decode(chosen)
    rows = nearest(latents, chosen, _NEIGHBOURS)[1]
    names = [[stored.ids[row] for row in found] for found in rows]
    if output.suffix == ".npy":
        np.save(output, samples)
        for number, found in enumerate(names):
            terminal.say(f"{number}: nearest {', '.join(map(terminal.printable, found))}")
    else:
        from workers.pictures.samples import draw_samples

        drawn = rows[:_DRAWN]
        pictures = model.decode(latents[drawn.ravel()]).reshape(*drawn.shape, -1)
        draw_samples(samples[:_DRAWN], pictures, names[:_DRAWN], model.input_shape, "Samples and nearest items", output)
    terminal.say(terminal.printable(f"{output}: {len(samples):,} samples"))
