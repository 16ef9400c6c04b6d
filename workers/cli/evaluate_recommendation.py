"""``latentstream evaluate recommendation``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer
from rich.console import Console

from schemas.model_settings import WITHOUT_LOGITS, InteractionKind, ModelSettings
from schemas.settings import Settings
from workers.cli.terminal import epoch_reporter

if TYPE_CHECKING:  # Importing it for real imports TensorFlow.
    from workers.evaluation import cold_items, prequential


def recommendation(
    dataset: Annotated[
        Literal["ml-100k", "gowalla"],
        typer.Option(help="gowalla is not fetched: put it into HOME/datasets/gowalla, or give --data."),
    ] = "ml-100k",
    data: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Any directory with train.npz, valid.npz and test.npz (sparse, users x items), or interactions.csv"
            " (user,item,timestamp).",
        ),
    ] = None,
    protocol: Annotated[
        Literal["weak", "strong", "prequential", "cold-items"],
        typer.Option(
            help="weak: users of the training, later items. strong: users held out of it. prequential: replay by time,"
            " with codes that follow each event or are made anew once a day. cold-items: items held out of it, by"
            " their features.",
        ),
    ] = "weak",
    model: Annotated[InteractionKind, typer.Option(help="Kind of interaction autoencoder.")] = "contrastive",
    dim: Annotated[int, typer.Option(min=1, max=1024, help="Width of the user code.")] = 256,
    item_bytes: Annotated[int, typer.Option("--bytes", min=1, max=1024, help="Bytes an item, without its bias.")] = 64,
    epochs: Annotated[int, typer.Option(min=1, help="Most passes over the users.")] = 60,
    popularity: Annotated[
        float, typer.Option(min=-2, max=2, help="Above 0, popular items are ranked higher than the training says.")
    ] = 0.0,
    seeds: Annotated[int, typer.Option(min=1, help="Random choices of what is held out: strong, cold-items.")] = 5,
    ease_ridge: Annotated[float | None, typer.Option(min=1e-6, help="EASE's parameter; chosen if not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Rank items for users, by the model exactly and as it is served, and compare with EASE and popularity.

    Served means through the codes of the items and the index. Recall is the share of the items to be found that
    are among the first k; in strong it is that of at most k, as Liang et al. (2018) have it. Coverage is the
    share of the catalogue that stands in some list, novelty the mean of -log2 of the share of users who have a
    listed item.
    """
    from workers.datasets import interactions
    from workers.evaluation import cold_items, prequential, recommendation

    home = Settings().home / "datasets"
    if data is not None:
        split = interactions.from_directory(data)
    elif dataset == "gowalla":
        split = interactions.from_directory(home / "gowalla")
    else:
        split = interactions.movielens_100k(home / "movielens-100k")
    if popularity and model in WITHOUT_LOGITS:
        raise typer.BadParameter(f"must be 0 with {model}, whose scores are no logits", param_hint="--popularity")
    settings = ModelSettings(
        interaction_kind=model,
        user_dim=dim,
        item_bytes=item_bytes,
        interaction_epochs=epochs,
        interaction_popularity=popularity,
    )
    report = epoch_reporter(Console(stderr=True))
    if protocol == "prequential":
        _show_prequential(prequential.measure(split, settings, report), as_json=as_json)
        return
    if protocol == "cold-items":
        _show_cold_items(cold_items.measure(split, settings, seeds, report), as_json=as_json)
        return
    if protocol == "weak":
        result = recommendation.weak(split, settings, ease_ridge, report)
    else:
        result = recommendation.strong(split, settings, ease_ridge, seeds, report)
    if as_json:
        typer.echo(msgspec.json.encode(result))
        return
    rows = {
        "exact": result.exact,
        "served": result.served,
        "ease": result.baselines.ease,
        "popularity": result.baselines.popularity,
    }
    for name, figures in rows.items():
        if figures is not None:
            shown = "  ".join(f"{figure} {value:.4f}" for figure, value in figures.items() if figure.endswith("@20"))
            typer.echo(f"{name:10}  {shown}")
    for note in result.notes:
        typer.echo(note)
    typer.echo(f"{result.bytes_per_item} bytes an item, trained in {result.train_seconds:.0f} s")


def _show_prequential(result: prequential.Result, *, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(result))
        return
    typer.echo(f"hit rate@10 of {result.interactions:,} interactions of {result.users:,} users, asked just before each")
    typer.echo(f"streaming   {result.streaming:.4f}   (no code yet: {result.streaming_without_code:.1%})")
    typer.echo(f"daily       {result.daily:.4f}   (no code yet: {result.daily_without_code:.1%})")
    typer.echo(f"popularity  {result.popularity:.4f}")
    low, high = result.interval
    typer.echo(f"streaming - daily: {result.streaming_minus_daily:.4f}, 95% interval {low:.4f} to {high:.4f}")


def _show_cold_items(result: cold_items.Result, *, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(result))
        return
    for name, figures in {"bridge": result.bridge, "content": result.content, "random": result.random}.items():
        typer.echo(f"{name:10}  " + "  ".join(f"{figure} {value:.4f}" for figure, value in figures.items()))
    typer.echo(f"means over {result.seeds} choices of {result.hidden_items} hidden items")
