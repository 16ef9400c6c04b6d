"""``latentstream stack``: the local Kafka and Redis."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.local import stack as local
from schemas.masking import masked_url
from schemas.settings import Settings
from workers.cli import terminal

app = typer.Typer(help="Run a real Kafka and a real Redis on this machine.", no_args_is_help=True)


def _say(line: str) -> None:
    terminal.console(stderr=True).print(line)


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
        terminal.print_json({service.name: _as_dict(service) for service in found})
    else:
        _show(found)
    if any(service.origin == "stack" and not service.running for service in found):
        raise typer.Exit(1)


def _as_dict(service: local.Service) -> dict[str, str | int | bool | None]:
    """Return what the table shows; ``running`` is null for an address from the settings, which is not asked."""
    return {
        "address": _address(service),
        "origin": service.origin,
        "running": service.running if service.origin == "stack" else None,
        "pid": service.pid,
        "log": str(service.log) if service.log else None,
    }


def _show(found: local.Stack) -> None:
    rows = [
        (
            service.name,
            _state(service),
            _address(service),
            str(service.pid) if service.pid else "",
            str(service.log or ""),
        )
        for service in found
    ]
    terminal.console().print(terminal.table(("service", "state", "address", "pid", "log"), rows))


def _state(service: local.Service) -> str:
    if service.origin == "settings":
        return "given in the settings"
    if service.running:
        return "running"
    return "does not answer" if service.pid else "not running"


def _address(service: local.Service) -> str:
    return masked_url(service.address) if service.name == "redis" else service.address
