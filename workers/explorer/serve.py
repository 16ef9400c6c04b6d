"""Starting the explorer."""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from redis.backoff import NoBackoff
from redis.retry import Retry

from schemas.settings import Settings
from workers import connections
from workers.errors import Repairable
from workers.explorer.app import Explorer
from workers.explorer.guard import LOOPBACK, Token
from workers.explorer.system import System

# Whoever stops it waits no longer for what is being answered.
_CLOSE_AFTER_S = 5
_REDIS_TIMEOUT_S = 2.0
# Far more connections than pages are allowed streams.
_MOST_CONNECTIONS = 1000


class CannotServe(Repairable):
    """The explorer may not, or cannot, listen as the settings say."""


def serve(settings: Settings, say: Callable[[str], None]) -> None:
    """Serve the explorer until SIGTERM or SIGINT; ``say`` is told where it is.

    Raises:
        CannotServe: without a token it would be open to others, or the port is taken.
        ConnectionFailed: Redis does not answer.
    """
    explorer = settings.explorer
    if explorer.token is None and explorer.host.lower() not in LOOPBACK:
        raise CannotServe(
            f"without a token everybody who reaches {explorer.host} could look at users and items: set "
            "LATENTSTREAM_EXPLORER__TOKEN to at least 16 characters, or leave LATENTSTREAM_EXPLORER__HOST at 127.0.0.1"
        )
    # A person waits, and the page says what is wrong.
    soon = settings.redis.model_copy(update={"timeout_s": min(settings.redis.timeout_s, _REDIS_TIMEOUT_S)})
    client = connections.redis_client(soon)
    client.set_retry(Retry(NoBackoff(), retries=1))
    token = Token(explorer.token) if explorer.token is not None else None
    listening = _listen(explorer.host, explorer.port)
    port = listening.getsockname()[1]
    shown = f"[{explorer.host}]" if ":" in explorer.host else explorer.host
    say(f"The explorer is at http://{shown}:{port}/{' and asks for the token' if token else ''}. Ctrl-C ends it.")
    made = Explorer(System(settings.model_copy(update={"redis": soon}), client), token)
    config = uvicorn.Config(
        made.application(),
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_CLOSE_AFTER_S,
    )
    _Server(config, made).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Ends the streams on a signal: it would wait for them, and they for news."""

    def __init__(self, config: uvicorn.Config, explorer: Explorer) -> None:
        super().__init__(config)
        self._explorer = explorer

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._explorer.closing = True
        super().handle_exit(sig, frame)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise CannotServe(
            f"cannot listen on {host}:{port}: {error.strerror or error}. LATENTSTREAM_EXPLORER__HOST and …__PORT set it"
        ) from error
