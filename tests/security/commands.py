"""Commands as people run them, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from typing import Final, NamedTuple

from schemas.settings import Settings
from tests.processes import environment

TIMEOUT_S: Final = 240


class Done(NamedTuple):
    """What a command said, and the status with which it ended."""

    status: int
    out: str
    err: str

    @property
    def output(self) -> str:
        return self.out + self.err


def command(settings: Settings, *words: str, stdin: bytes = b"") -> Done:
    """Run ``latentstream WORDS…`` under ``settings`` until it ends."""
    done = subprocess.run(
        [sys.executable, "-m", "workers", *words],
        env=environment(settings),
        input=stdin,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    out, err = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
    return Done(done.returncode, out, err)
