"""A Redis server for a measurement: in memory only, on a free port, gone afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Final

import redis

from deploy.local.processes import ServerProcess, free_ports
from deploy.local.redis import START_TIMEOUT_S, STOP_TIMEOUT_S, answers, redis_server

_CONFIG: Final = Template("""\
bind 127.0.0.1
protected-mode yes
port ${port}
dir .
appendonly no
save ""
# What the server notes about slow commands and their durations is no part of the data.
slowlog-max-len 0
latency-tracking no
set-proc-title no
""")


@contextmanager
def private_redis() -> Iterator[redis.Redis]:
    """Start a server that stores data as Redis does by default, and give a client of it.

    Raises:
        StackError: there is no redis-server that is new enough, or it does not start.
    """
    binary = redis_server()
    with tempfile.TemporaryDirectory(prefix="latentstream-bench-") as name:
        directory = Path(name).resolve()
        server = ServerProcess("Redis", directory, directory / "redis.conf")
        (port,) = free_ports([None])
        server.config.write_text(_CONFIG.substitute(port=port))
        server.spawn([binary, str(server.config)], port)
        try:
            server.wait_until(lambda: answers(port), START_TIMEOUT_S)
            with redis.Redis(port=port, protocol=2) as client:
                yield client
        finally:
            server.terminate()
            server.wait_ended(STOP_TIMEOUT_S, lambda line: None)  # noqa: ARG005
