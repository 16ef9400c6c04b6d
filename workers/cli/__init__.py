"""The command line. Every command imports what is heavy (TensorFlow, FAISS) only when it runs."""

from __future__ import annotations

import sys

import redis
import typer
from kafka.errors import KafkaError
from pydantic import ValidationError
from pydantic_settings import SettingsError

from deploy.local.processes import StackError
from models.errors import ModelError
from schemas.experiments import BadExperiment
from workers.cli import (
    anomalies,
    bench,
    config,
    dead_letters,
    demo,
    denoise,
    evaluate,
    experiment,
    explore,
    export,
    generate,
    inspect,
    models,
    positions,
    publish,
    recommend,
    stack,
    status,
    terminal,
    train,
    worker,
)
from workers.errors import Repairable

app = typer.Typer(
    name="latentstream",
    help="Events on Kafka become autoencoder codes and recommendations in Redis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(stack.app, name="stack")
app.add_typer(worker.app, name="worker")
app.add_typer(demo.app, name="demo")
app.add_typer(bench.app, name="bench")
app.add_typer(evaluate.app, name="evaluate")
app.command()(train.train)
app.add_typer(publish.app, name="publish")
app.command()(recommend.recommend)
app.command()(recommend.similar)
app.command()(inspect.inspect)
app.command()(denoise.denoise)
app.command()(generate.generate)
app.add_typer(dead_letters.app, name="dead-letters")
app.command()(anomalies.anomalies)
app.add_typer(positions.app, name="positions")
app.add_typer(export.app, name="export")
app.add_typer(models.app, name="models")
app.add_typer(experiment.app, name="experiment")
app.command()(explore.explore)
app.command()(status.status)
app.command()(config.config)


def main() -> None:
    """Run the command line; what a person can repair is said in a line or two, without a trace."""
    try:
        app()
    except ValidationError as error:
        fail(settings_errors(error))
    except SettingsError as error:
        # Its cause quotes nothing, but its trace would be no help.
        fail(f"a setting is not the JSON that it should be: {error}")
    except (Repairable, ModelError, StackError, BadExperiment) as error:
        fail(str(error))
    except (redis.RedisError, KafkaError) as error:
        from workers.refusals import denial

        system = "Redis" if isinstance(error, redis.RedisError) else "Kafka"
        fail(denial(error) or f"{system} failed in the middle of it: {type(error).__name__}: {error}")


def settings_errors(error: ValidationError) -> str:
    """Return a line for each setting that is wrong; never its value, which may be a secret."""
    lines = [
        f"LATENTSTREAM_{'__'.join(str(part).upper() for part in detail['loc'])}: {detail['msg']}"
        for detail in error.errors(include_input=False)
    ]
    return "\n".join(lines)


def fail(message: str) -> None:
    """Print ``message`` on standard error and exit with status 1."""
    # It may quote an event.
    lines = "\n".join(map(terminal.printable, message.splitlines()))
    terminal.say(f"latentstream: {lines}", "red", stderr=True)
    sys.exit(1)
