"""``latentstream worker encoder | recommender | trainer``."""

from __future__ import annotations

import threading
from typing import Annotated

import typer

from schemas.settings import Settings
from workers import logs
from workers.cli import terminal

app = typer.Typer(help="Run a worker until SIGTERM; it finishes what it has polled first.", no_args_is_help=True)


@app.command()
def encoder() -> None:
    """Encode items: `items` to codes and change log in Redis."""
    _run("encoder")


@app.command()
def recommender() -> None:
    """Recommend: `interactions` to histories and lists in Redis; answers on-demand queries."""
    _run("recommender")


@app.command()
def trainer(
    once: Annotated[bool, typer.Option("--once", help="Train now, say what came of it, and end.")] = False,
) -> None:
    """Train a new model when it is due, and promote it if it is better than the current one.

    Both are measured on the newest interactions, which the new one is not trained on. A report lies beside each
    version. On SIGTERM it stops between two epochs; the next one that starts reads the same events and goes on.
    """
    settings = Settings()
    logs.configure(settings.log_level, settings.log_format)
    from workers.run import stop_on_signals
    from workers.trainer.worker import run_trainer, train_once

    stop = threading.Event()
    stop_on_signals(stop)
    if not once:
        run_trainer(settings, stop)
        return
    last = train_once(settings, stop)
    if last is None:
        terminal.say("Nothing was finished: it was interrupted, or another trainer is at work.")
        raise typer.Exit(1)
    terminal.say(f"{last.version} was {last.outcome}: {last.why}")


def _run(role: str) -> None:
    settings = Settings()
    logs.configure(settings.log_level, settings.log_format)
    from workers.run import run_worker

    run_worker("encoder" if role == "encoder" else "recommender", settings)
