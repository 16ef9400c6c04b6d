"""``latentstream explore``."""

from __future__ import annotations

from schemas.settings import Settings
from workers import logs
from workers.cli import terminal


def explore() -> None:
    """Serve a web page that shows what flows, users, items, the latent map, dead letters, models and experiments.

    It only reads. It listens on this machine alone unless LATENTSTREAM_EXPLORER__TOKEN is set; then everybody who
    opens it must give the token, as a password or as `Authorization: Bearer`. It speaks plain HTTP: put what ends TLS
    before it where others reach it, and its name in LATENTSTREAM_EXPLORER__NAMES. /live answers without a token.
    """
    settings = Settings()
    logs.configure(settings.log_level)
    from workers.explorer.serve import serve

    serve(settings, lambda line: terminal.say(line, stderr=True))
