"""``latentstream stack``: the local Kafka and Redis."""

from __future__ import annotations

import json
from typing import Annotated
from urllib.parse import urlsplit, urlunsplit

import typer
from rich.console import Console
from rich.table import Table

from deploy.local import stack as local
from schemas.settings import Settings

app = typer.Typer(help="Run a real Kafka and a real Redis on this machine.", no_args_is_help=True)


def _say(line: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(line, markup=False)


@app.command()
def up() -> None:
    """Start Kafka and Redis where they do not run yet, and wait until both answer."""
    _show(local.up(Settings(), _say))


@app.command()
def down(
    delete_data: Annotated[bool, typer.Option("--delete-data", help="Also delete all topics and keys.")] = False,
) -> None:
    """Stop what `up` has started. Topics and keys are kept for the next `up`."""
    settings = Settings()
    local.down(settings, _say, delete_data=delete_data)
    kept = "Its data are deleted." if delete_data else f"Its data are kept in {settings.home / 'stack'}."
    _say(f"The local stack is down. {kept}")


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")] = False,
) -> None:
    """Say where Kafka and Redis are and whether they answer. Exits with 1 where one of the stack's does not."""
    found = local.status(Settings())
    if as_json:
        typer.echo(json.dumps({service.name: _as_dict(service) for service in found}))
    else:
        _show(found)
    if any(service.origin == "stack" and not service.running for service in found):
        raise typer.Exit(1)


def _as_dict(service: local.Service) -> dict[str, str | int | bool | None]:
    """Return what the table shows; ``running`` is null for an address from the settings, which is not asked."""
    return {
        "address": masked(service.address),
        "origin": service.origin,
        "running": service.running if service.origin == "stack" else None,
        "pid": service.pid,
        "log": str(service.log) if service.log else None,
    }


def _show(found: local.Stack) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("service", "state", "address", "pid", "log"):
        table.add_column(heading, overflow="fold")
    for service in found:
        pid = str(service.pid) if service.pid else ""
        table.add_row(service.name, _state(service), masked(service.address), pid, str(service.log or ""))
    Console(soft_wrap=False, highlight=False).print(table)


def _state(service: local.Service) -> str:
    if service.origin == "settings":
        return "given in the settings"
    if service.running:
        return "running"
    return "does not answer" if service.pid else "not running: `latentstream stack up`"


def masked(address: str) -> str:
    """Return ``address`` without the password that a URL may contain."""
    if "://" not in address:
        return address
    parts = urlsplit(address)
    if parts.password is None:
        return address
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}"))
