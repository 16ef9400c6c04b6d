"""``latentstream worker encoder | recommender``."""

from __future__ import annotations

import typer

from schemas.settings import Settings
from workers import logs

app = typer.Typer(help="Run a worker until SIGTERM; it finishes what it has polled first.", no_args_is_help=True)


@app.command()
def encoder() -> None:
    """Encode items: `items` to codes and change log in Redis."""
    _run("encoder")


@app.command()
def recommender() -> None:
    """Recommend: `interactions` to histories and lists in Redis; answers on-demand queries."""
    _run("recommender")


def _run(role: str) -> None:
    settings = Settings()
    logs.configure(settings.log_level)
    from workers.run import run_worker

    run_worker("encoder" if role == "encoder" else "recommender", settings)
