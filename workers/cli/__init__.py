"""The command line. Every command imports what is heavy (TensorFlow, FAISS) only when it runs."""

from __future__ import annotations

import sys

import typer
from pydantic import ValidationError
from rich.console import Console

import workers.cli.stack
import workers.cli.worker

app = typer.Typer(
    name="latentstream",
    help="Events on Kafka become autoencoder codes and recommendations in Redis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(workers.cli.stack.app, name="stack")
app.add_typer(workers.cli.worker.app, name="worker")


def main() -> None:
    """Run the command line; what a person can repair is said in a line or two, without a trace."""
    try:
        app()
    except ValidationError as error:
        fail(settings_errors(error))
    except expected_errors() as error:
        fail(str(error))


def expected_errors() -> tuple[type[Exception], ...]:
    """Return the errors whose message says what is wrong, where, and what to do."""
    from models.errors import ModelError

    from deploy.local import StackError
    from workers.connections import ConnectionFailed
    from workers.dead_letters import TooManyDeadLetters
    from workers.source import PositionOutOfRange

    return ConnectionFailed, StackError, ModelError, TooManyDeadLetters, PositionOutOfRange


def settings_errors(error: ValidationError) -> str:
    """Return a line for each setting that is wrong; never its value, which may be a secret."""
    lines = [
        f"LATENTSTREAM_{'__'.join(str(part).upper() for part in detail['loc'])}: {detail['msg']}"
        for detail in error.errors(include_input=False)
    ]
    return "\n".join(lines)


def fail(message: str) -> None:
    """Print ``message`` on standard error and exit with status 1."""
    Console(stderr=True, highlight=False).print(f"[bold red]latentstream:[/] {message}", markup=True, soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
