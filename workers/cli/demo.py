"""``latentstream demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Show everything on real data, on topics and keys of its own. Each run starts from nothing.",
    no_args_is_help=True,
)
Keep = Annotated[bool, typer.Option("--keep", help="Let the workers run on when the demo is over.")]


@app.command()
def movielens(keep: Keep = False) -> None:
    """Recommend films: MovieLens-100K in time order through Kafka. About 3 minutes.

    Exits with 1 where the lists in Redis are worse than promised: popularity is as good, or their NDCG@20 is
    below 97% of that of EASE on the same split.
    """
    from workers.demo.movielens import run

    if not run(keep=keep):
        raise typer.Exit(1)


@app.command()
def fashion(
    data: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            envvar="LATENTSTREAM_FASHION_MNIST",
            help="Directory with the four .gz files of Fashion-MNIST, where Debian's package is not installed.",
        ),
    ] = None,
    keep: Keep = False,
) -> None:
    """Compress images: all 70,000 of Fashion-MNIST through Kafka, then a picture of what came of them.

    Exits with 1 where the decoded images are worse than those of PCA with codes of the same length.
    """
    from workers.demo.fashion import run

    if not run(data, keep=keep):
        raise typer.Exit(1)
