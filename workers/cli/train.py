"""``latentstream train``."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from schemas.keys import Keys
from schemas.settings import Settings
from workers.cli.errors import CommandFailed

if TYPE_CHECKING:  # Importing it for real imports TensorFlow.
    from models.training import Progress as Step
    from models.training import Report

_FILE = typer.Option(exists=True, dir_okay=False, readable=True, help="JSON lines, .gz too, instead of the topic.")


def train(
    items: Annotated[Path | None, _FILE] = None,
    interactions: Annotated[Path | None, _FILE] = None,
    promote: Annotated[
        bool, typer.Option("--promote/--no-promote", help="Make the new model the current one in Redis.")
    ] = True,
) -> None:
    """Train a model and make it the current one.

    Without files it replays the topics, from their beginning to their end now. It writes a bundle to the
    registry, with a picture of the learning curve beside it, and prints its version and a short report; running
    workers take it over by themselves. Interrupted, it goes on when it is started again with the same data and
    settings.
    """
    settings = Settings()
    from models import training as models_training
    from models.errors import StoreError
    from workers import connections, promotions, training, versions
    from workers.dataset import DatasetBuilder
    from workers.pictures.learning_curve import draw_learning_curves
    from workers.registry import open_registry
    from workers.spill import spill_directory

    # A wrong address should be said before the training, not after it.
    registry = open_registry(settings)
    registry.versions()
    client = connections.redis_client(settings.redis) if promote else None
    screen = Console(stderr=True)
    started = time.monotonic()
    with _Bars(screen) as bars, spill_directory(settings.registry, f"train-{os.getpid()}") as directory:
        builder = DatasetBuilder(directory)
        offsets: training.Offsets = {}
        if items or interactions:
            training.read_files(builder, items, interactions)
        else:
            offsets = training.end_offsets(settings)
            training.read_topics(settings, builder, offsets, bars.reading)
        trained = models_training.train(
            builder.build(offsets),
            settings.model,
            versions.version_prefix(),
            bars.training,
            unfinished=registry.root / training.UNFINISHED,
        )
    path = trained.save(registry.root)
    picture = draw_learning_curves(trained.curves, path)
    try:
        registry.publish(path.name)
    except StoreError as error:
        raise CommandFailed(
            f"{error}. The model is in {path}: `latentstream models promote {path.name}` uploads it"
        ) from error
    if client is not None:
        promotions.promote(client, Keys(settings.redis.prefix), path.name, "trained")
    _report(trained.report, path, picture, time.monotonic() - started, builder.bad_events, promoted=promote)


def _report(
    report: Report, path: Path, picture: Path | None, seconds: float, bad_events: int, *, promoted: bool
) -> None:
    out = Console(highlight=False, soft_wrap=True)
    out.print(f"[bold]{path.name}[/] trained in {seconds:.0f} s{', now the current model' if promoted else ''}")
    out.print(
        f"  {report.items:,} items ({report.items_with_features:,} with features), {report.users:,} users, "
        f"{report.interactions:,} interactions"
    )
    for name, value in report.metrics.items():
        out.print(f"  {name.replace('_', ' ')}: {value:.4g}")
    for note in report.notes:
        out.print(f"  [yellow]{note}[/]")
    if bad_events:
        out.print(f"  [yellow]{bad_events:,} bad events were left out; the workers publish them as dead letters.[/]")
    out.print(f"  {path}")
    if picture is not None:
        out.print(f"  learning curve: {picture}")


class _Bars:
    """A progress bar for each stage; nothing where standard error is not a terminal."""

    def __init__(self, screen: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=screen,
            disable=not screen.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def reading(self, topic: str, share: float) -> None:
        """Show how much of a topic is read."""
        self._show(f"Reading {topic}", share, 1.0, "")

    def training(self, step: Step) -> None:
        """Show a step of the training."""
        self._show(step.stage, step.done, step.total, step.note)

    def _show(self, stage: str, done: float, total: float, note: str) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total, note=note)
        self._progress.update(self._tasks[stage], completed=done, total=total, note=note)
