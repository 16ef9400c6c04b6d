"""``latentstream denoise``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from schemas.settings import Settings
from workers.cli import terminal
from workers.cli.bundles import load_content


def denoise(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE…",
            exists=True,
            dir_okay=False,
            readable=True,
            help="Vectors (.npy), item events (.jsonl, .jsonl.gz), or images (.png) of the model's size.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write; a directory where there are several files.")
    ],
    model: Annotated[str | None, typer.Option(help="Version in the registry, instead of the current one.")] = None,
) -> None:
    """Take the noise out of vectors or images with a trained model; each file keeps its form.

    The model should be of the kind denoising, and the noise like the one it was trained with.
    """
    targets = _targets(files, output)
    settings = Settings()
    from workers.denoising import denoise_file

    version, content = load_content(settings, model)
    kind = content.config.kind
    if kind != "denoising":
        terminal.say(
            f"The model {version} is of the kind {kind}: it was trained without noise, and will take out less of"
            ' it than one that was trained with LATENTSTREAM_MODEL__CONTENT=\'{"kind": "denoising", …}\'.',
            "yellow",
            stderr=True,
        )
    for source, target in zip(files, targets, strict=True):
        count = denoise_file(source, target, content)
        terminal.say(terminal.printable(f"{target}: {count:,} {'item' if count == 1 else 'items'}"))


def _targets(files: list[Path], output: Path) -> list[Path]:
    """Return where each file goes."""
    if len(files) == 1 and not output.is_dir():
        targets = [output]
    else:
        targets = [output / path.name for path in files]
        if len({target.name for target in targets}) < len(files):
            raise typer.BadParameter("two of the files have the same name and would go to the same place")
        if output.exists() and not output.is_dir():
            raise typer.BadParameter(f"{output} is not a directory, and several files do not go into one")
    for source, target in zip(files, targets, strict=True):
        if target.exists() and target.samefile(source):
            raise typer.BadParameter(f"{source} would be overwritten: choose another --output")
    if targets[0] != output:
        output.mkdir(parents=True, exist_ok=True)
    elif not output.parent.is_dir():
        raise typer.BadParameter(f"{output.parent} is not a directory")
    return targets
