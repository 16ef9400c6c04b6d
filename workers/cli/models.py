"""``latentstream models list | show | promote | rollback | prune``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import msgspec
import redis
import typer

from schemas.keys import Keys
from schemas.settings import Settings
from workers.cli import terminal
from workers.cli.errors import CommandFailed

if TYPE_CHECKING:  # Importing it for real imports TensorFlow.
    from models.bundle import Manifest
    from models.registry import Registry
    from workers.promotions import Promotion

app = typer.Typer(help="The model versions, and which of them is the current one.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Why = Annotated[str, typer.Option(help="Goes into the log of promotions, with who and when.")]
_VERSION = "Model version, as `latentstream models list` names it."


class Listed(msgspec.Struct, frozen=True):
    """A version.

    ``state`` is current, serving (until the items are encoded under the current one), before (where a rollback leads
    to), control, challenger or empty.
    """

    version: str
    state: str
    kind: str
    trained_items: int
    size: int
    damaged: str = ""


@app.command("list")
def list_versions(as_json: AsJson = False) -> None:
    """List all versions, the oldest first, verifying the checksum of every file; at a URL only names and sizes."""
    from workers.model_states import model_states

    settings = Settings()
    states = model_states(_client(settings), Keys(settings.redis.prefix))
    registry = _registry(settings)
    found = [_listed(registry, version, states.get(version, "")) for version in registry.versions()]
    absent = sorted(states.keys() - {one.version for one in found})
    found += [Listed(one, states[one], "", 0, 0, f"it is not in {registry.shown}") for one in absent]
    if as_json:
        terminal.print_json(msgspec.to_builtins(found))
        return
    if not found:
        terminal.say(f"There is no model in {registry.shown}: `latentstream train` makes one.")
        return
    headings = ("version", "", "trained on", "items", "size", "")
    rows = [
        (one.version, one.state, one.kind, f"{one.trained_items:,}", terminal.size(one.size), one.damaged)
        for one in found
    ]
    terminal.console().print(terminal.table(headings, rows, right=("items", "size")))


@app.command()
def show(
    version: Annotated[str | None, typer.Argument(help=f"{_VERSION} The current one if not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a version says of itself, and when it was promoted."""
    from workers.lookup import current_version
    from workers.promotions import promotions

    settings = Settings()
    client, keys = _client(settings), Keys(settings.redis.prefix)
    version = version or current_version(client, keys)
    if version is None:
        raise CommandFailed("there is no current model: name a version, or make one with `latentstream train`")
    registry = _registry(settings)
    manifest, report = registry.manifest(version), registry.report(version)
    log = [one for one in promotions(client, keys) if version in (one.version, one.before)]
    if as_json:
        document = {"manifest": msgspec.to_builtins(manifest, str_keys=True), "promotions": msgspec.to_builtins(log)}
        terminal.print_json(document)
        return
    terminal.console().print(
        terminal.pairs(
            [
                ("version", version),
                ("trained on", f"{_kind(manifest)}, {manifest.trained_items:,} items"),
                *((name.replace("_", " "), f"{value:.4g}") for name, value in manifest.metrics.items()),
                *((f"events of {topic}", f"{sum(ends.values()):,}") for topic, ends in manifest.offsets.items()),
                *((one.at, _told(one, version)) for one in log),
                *([("report of the training", str(report))] if report is not None else []),
            ]
        )
    )


@app.command()
def promote(version: Annotated[str, typer.Argument(help=_VERSION)], why: Why = "by hand") -> None:
    """Make a version the current model; running workers take it over by themselves.

    It is loaded and verified first, and uploaded where that has failed before. A model for features of another shape
    than the current one's is refused.
    """
    from workers import promotions

    settings = Settings()
    client, keys = _client(settings), Keys(settings.redis.prefix)
    _check(settings, client, keys, version)
    before = promotions.promote(client, keys, version, why)
    terminal.say(f"{version} is the current model, {f'instead of {before}' if before else 'the first one'}.")


@app.command()
def rollback(why: Why = "by hand") -> None:
    """Make the model before the current one current again. Once more, and it is the one before that."""
    from workers import promotions

    settings = Settings()
    client, keys = _client(settings), Keys(settings.redis.prefix)
    done = promotions.roll_back(client, keys, why, lambda version: _check(settings, client, keys, version))
    terminal.say(f"{done.version} is the current model again, instead of {done.before}.")


@app.command()
def prune(
    keep: Annotated[int, typer.Option(min=0, help="So many of the newest versions stay in any case.")] = 3,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; without it they are only named.")] = False,
) -> None:
    """Remove old versions from the registry, with the codes that Redis still has under them.

    The current model, the one that a rollback leads to, and those of a running experiment stay.
    """
    from workers.model_states import model_states
    from workers.old_versions import remove_keys

    settings = Settings()
    client, keys = _client(settings), Keys(settings.redis.prefix)
    registry = _registry(settings)
    versions = registry.versions()
    needed = {*model_states(client, keys), *versions[max(len(versions) - keep, 0) :]}
    for version in versions:
        if version in needed:
            continue
        size = terminal.size(registry.size(version))
        if not yes:
            terminal.say(f"{version}, {size}: would be removed with --yes")
            continue
        # First, because a version that is gone would not be found again with its keys.
        removed = remove_keys(client, keys, version)
        registry.remove(version)
        terminal.say(f"{version}, {size}: removed, with {removed:,} keys in Redis")


def _check(settings: Settings, client: redis.Redis, keys: Keys, version: str) -> None:
    from workers.lookup import current_version
    from workers.model_watch import require_same_input

    registry = _registry(settings)
    registry.publish(version)
    model, current = registry.load(version), current_version(client, keys)
    if current in registry.versions():
        require_same_input(model.manifest, registry.manifest(current))


def _listed(registry: Registry, version: str, state: str) -> Listed:
    from models.errors import BundleError

    try:
        manifest = registry.manifest(version)
    except BundleError as error:
        return Listed(version, state, "", 0, registry.size(version), str(error))
    return Listed(version, state, _kind(manifest), manifest.trained_items, registry.size(version))


def _kind(manifest: Manifest) -> str:
    parts: Iterable[str] = (
        "features" if manifest.content is not None else "",
        "interactions" if manifest.interaction is not None else "",
    )
    return " and ".join(filter(None, parts))


def _told(change: Promotion, version: str) -> str:
    became = f"current, before it {change.before or 'none'}" if change.version == version else "not current any more"
    return f"{became}: {change.kind} by {change.by}, {change.why}"


def _client(settings: Settings) -> redis.Redis:
    from workers import connections

    return connections.redis_client(settings.redis)


def _registry(settings: Settings) -> Registry:
    from workers.registry import open_registry

    return open_registry(settings)
