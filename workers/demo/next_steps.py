"""The commands at the end of a demo. All of them work as they are printed."""

from __future__ import annotations

from collections.abc import Sequence

from workers.demo.screen import Screen
from workers.sandbox import Sandbox
from workers.subprocesses import Workers

Commands = Sequence[tuple[str, str]]


def show(screen: Screen, sandbox: Sandbox, kept: Workers | None, reading: Commands, asking: Commands) -> None:
    """Print ``reading``, which needs Redis only, then ``asking``, which needs a recommender.

    ``kept`` are the workers that run on; where there are none, the commands that start them come between.
    """
    screen.title("Try next")
    lines = [(f". {sandbox.write_environment()}", "use the demo's topics and keys in this shell"), *reading]
    if kept is None:
        lines += [
            ("latentstream worker encoder 2> encoder.log &", "the workers again, which the demo has stopped"),
            ("latentstream worker recommender 2> recommender.log &", ""),
        ]
    lines += [
        *asking,
        ("latentstream status", "how far everything is"),
        ("latentstream explore", "look at all of it in a browser, until Ctrl-C"),
    ]
    if kept is not None:
        pids = " ".join(str(process.pid) for process in kept.processes)
        lines.append((f"kill {pids}", "stop the workers, which run on because of --keep"))
    screen.commands([*lines, ("latentstream stack down", "stop Kafka and Redis")])
