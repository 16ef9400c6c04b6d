"""``latentstream experiment``: two models side by side, and which of them serves its users better."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from schemas.experiments import ARMS, BadExperiment, Experiment
from schemas.keys import Keys
from schemas.settings import Settings
from workers.cli import terminal
from workers.cli.errors import CommandFailed

if TYPE_CHECKING:
    from models.bundle import Bundle
    from workers.experiments import Comparison, ProfileReport, Report, Value

app = typer.Typer(
    help="Serve a share of the users by another model, and compare. Without a command: how the experiment stands.",
    invoke_without_command=True,
)
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")]


@app.callback()
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Show both arms with 95 % intervals.

    Each first contact of a user with an item is compared with the list that the user had. Users are the unit of the
    intervals. An interval holds for one look at a time that was chosen beforehand: whoever looks every day and stops
    when he likes what he sees will find differences that are not there.
    """
    if context.invoked_subcommand is None:
        _print(_current(Settings()), as_json=as_json)


@app.command()
def start(
    challenger: Annotated[str, typer.Argument(help="Model version, from `latentstream train --no-promote`.")],
    share: Annotated[float, typer.Option(help="Share of the users that it serves.")] = 0.5,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="It serves nobody: both models make lists for that share (up to 1).")
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="Goes into the hash that divides the users; the time if not given.")
    ] = None,
) -> None:
    """Start an experiment: running workers take it up by themselves.

    The encoders encode the items for the challenger, too. When they are done the recommenders make its users' lists.
    """
    from workers import connections, experiments
    from workers.lookup import current_version
    from workers.registry import open_registry

    settings = Settings()
    keys = Keys(settings.redis.prefix)
    client = connections.redis_client(settings.redis)
    control = current_version(client, keys)
    if control is None:
        raise CommandFailed("there is no current model to compare with: `latentstream train` makes one")
    now = datetime.now(UTC)
    try:
        experiment = Experiment(
            name or now.strftime("%Y%m%dT%H%M%S"),
            control,
            challenger,
            share,
            now.isoformat(timespec="seconds"),
            getpass.getuser(),
            shadow=shadow,
        )
    except BadExperiment as error:
        raise CommandFailed(str(error)) from error
    registry = open_registry(settings)
    _require_alike(registry.load(control), registry.load(challenger))
    experiments.start(client, keys, _partitions(settings)[1], experiment)
    does = "makes lists that nobody gets for" if shadow else "serves"
    terminal.say(f"{experiment.name}: {challenger} {does} {share:.0%} of the users once it has encoded the items.")


@app.command()
def stop(as_json: AsJson = False) -> None:
    """Show how the experiment stands and end it; the lists of all users become those of the current model."""
    from workers import connections, experiments

    settings = Settings()
    client, keys = connections.redis_client(settings.redis), Keys(settings.redis.prefix)
    try:
        found = _current(settings)
        experiment = experiments.read_experiment(client, keys)
    except BadExperiment as error:
        client.delete(keys.experiment)
        raise CommandFailed(f"{error}. It is removed.") from error
    if experiment is not None:
        experiments.stop(client, keys, _partitions(settings)[1], experiment)
    _print(found, as_json=as_json)
    if not as_json:
        terminal.say(f"Ended. To let it serve everybody: latentstream models promote {found.challenger}")


def _current(settings: Settings) -> Report:
    from workers import connections, experiments

    client, keys = connections.redis_client(settings.redis), Keys(settings.redis.prefix)
    experiment = experiments.read_experiment(client, keys)
    if experiment is None:
        raise CommandFailed("no experiment runs: `latentstream experiment start VERSION` begins one")
    return experiments.report(client, keys, *_partitions(settings), experiment)


def _partitions(settings: Settings) -> tuple[int, int]:
    from workers import connections

    consumer = connections.consumer(settings, None)
    try:
        topics = [settings.kafka.items_topic, settings.kafka.interactions_topic]
        found = connections.partitions(consumer, topics)
    finally:
        consumer.close(timeout_ms=1000)
    return found[topics[0]], found[topics[1]]


def _require_alike(control: Bundle, challenger: Bundle) -> None:
    shapes = [bundle.content and bundle.content.input_shape for bundle in (control, challenger)]
    if None not in shapes and shapes[0] != shapes[1]:
        raise CommandFailed(
            f"the challenger takes features of the shape {shapes[1]} and the current model of {shapes[0]}: one stream "
            "of items cannot serve both"
        )


def _print(found: Report, *, as_json: bool) -> None:
    if as_json:
        terminal.print_json(msgspec.to_builtins(found))
        return
    live = f"live since {found.live_at}" if found.live_at else f"not live yet: {found.encoded:.0%} of the items encoded"
    terminal.console().print(
        terminal.pairs(
            [
                ("experiment", f"{found.name}, started {found.started_at} by {found.started_by}, {live}"),
                ("control", f"{found.control}, {1 if found.shadow else 1 - found.share:.0%} of the users"),
                ("challenger", f"{found.challenger}, {found.share:.0%} of the users{', as a shadow' * found.shadow}"),
            ]
        )
    )
    if not found.profiles:
        terminal.say("Nothing is counted yet: users touch items that they did not have before.")
    for name, profile in found.profiles.items():
        terminal.console().print(_table(name, profile))


def _table(name: str, profile: ProfileReport) -> object:
    rows = [("interactions", *(f"{profile.judged[arm]:,}" for arm in ARMS), "", "")]
    rows += [(figure, *_row(one)) for figure, one in profile.figures.items()]
    rows.append((f"items in {profile.lists:,} lists", *(f"{profile.listed[arm]:,}" for arm in ARMS), "", ""))
    return terminal.table([f"profile {name}", *ARMS, "difference", "p"], rows, right=(*ARMS, "difference", "p"))


def _row(one: Comparison) -> tuple[str, str, str, str]:
    p = "" if one.p_value is None else f"{one.p_value:.2g}"
    return _shown(one.control), _shown(one.challenger), _shown(one.difference, "+"), p


def _shown(value: Value, sign: str = "") -> str:
    if value.value is None:
        return "-"
    if value.low is None or value.high is None:
        return f"{value.value:{sign}.4g}"
    return f"{value.value:{sign}.4g} ({value.low:{sign}.3g} to {value.high:{sign}.3g})"
