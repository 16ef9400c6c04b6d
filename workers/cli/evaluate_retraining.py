"""``latentstream evaluate retraining``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from schemas.settings import Settings
from workers.cli.terminal import epoch_reporter


def retraining(
    data: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="A directory with interactions.csv (user,item,timestamp) instead of MovieLens-100K.",
        ),
    ] = None,
    retrainings: Annotated[int, typer.Option(min=1, help="Trainings after the first.")] = 3,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of that of the settings.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Live through the data as the trainer does, and compare the model in force with the first one, week by week.

    The first model has the first 40% of the interactions. Models and trainer are as the settings say, so that
    LATENTSTREAM_TRAINER__FROM_CURRENT and LATENTSTREAM_MODEL__INTERACTION_KIND can be tried. Quality is the NDCG@50
    of lists asked just before each interaction, through catalogue and ranker. Exits with 1 where the model in force
    was worse than the first one in some week, or a model of shuffled data was promoted.
    """
    from workers.datasets import interactions
    from workers.evaluation import retraining

    settings = Settings()
    if data is not None:
        split = interactions.from_directory(data)
    else:
        split = interactions.movielens_100k(settings.home / "datasets" / "movielens-100k")
    model = settings.model if seed is None else settings.model.model_copy(update={"seed": seed})
    result = retraining.measure(split, model, settings.trainer, retrainings, epoch_reporter(Console(stderr=True)))
    if as_json:
        typer.echo(msgspec.json.encode(result))
    else:
        for one in result.trainings:
            typer.echo(f"{_day(one.at)}  {one.share:.0%} of the interactions: {one.decision.why}")
            if one.shuffled is not None:
                typer.echo(f"            shuffled: {one.shuffled.why}")
        for week in result.weeks:
            figures = week.figures
            typer.echo(
                f"{_day(week.begins)}  {figures.questions:6,} interactions  first {figures.champion:.4f}  "
                f"in force {figures.challenger:.4f}  {figures.difference:+.4f}"
            )
        typer.echo(f"{result.below} of {len(result.weeks)} weeks below the first model, {result.surely_below} surely")
    if result.below or result.shuffled_promoted:
        raise typer.Exit(1)


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
