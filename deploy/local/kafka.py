"""The local Kafka broker: one node in KRaft mode, on loopback."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import struct
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Final

from deploy.local import jars
from deploy.local.processes import Say, ServerProcess, StackError, free_ports

_HERE: Final = Path(__file__).parent
_LOG_CONFIG: Final = "log4j2.properties"
# A slow machine needs a while; a fast one is ready in two seconds.
START_TIMEOUT_S: Final = 60.0
# The broker closes its logs in well under a second; more means that it hangs.
STOP_TIMEOUT_S: Final = 20.0
# The first compiler only: with it the broker is up sooner and leaves the processors to the workers.
_JVM: Final = (
    *("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError"),
    *("-Djava.awt.headless=true", f"-Dlog4j2.configurationFile={_LOG_CONFIG}"),
)


def process(stack: Path) -> ServerProcess:
    """Return the broker whose data are under ``stack``."""
    directory = stack / "kafka"
    return ServerProcess("Kafka", directory, directory / "server.properties")


def start(server: ServerProcess, say: Say, overrides: Mapping[str, str] = {}) -> None:
    """Start the broker on the data that are there, formatting the log directory the first time. Does not wait.

    ``overrides`` replace or join what ``server.properties`` says; ports are filled in as there.

    Raises:
        StackError: Java or Maven is missing, or the log directory cannot be formatted.
    """
    java = jars.java()
    library = jars.kafka_jars(say)
    server.directory.mkdir(parents=True, exist_ok=True)
    port, controller_port = free_ports([server.port, None])
    # Of a property that is given twice Java takes the last.
    lines = [(_HERE / "server.properties").read_text(), *(f"{name}={value}\n" for name, value in overrides.items())]
    server.config.write_text(Template("".join(lines)).substitute(port=port, controller_port=controller_port))
    shutil.copyfile(_HERE / _LOG_CONFIG, server.directory / _LOG_CONFIG)
    run = [java, *_JVM, "-cp", f"{library}{os.sep}*"]
    if not (server.directory / "data" / "meta.properties").exists():
        _format(server, run)
    server.spawn([*run, "kafka.Kafka", str(server.config)], port)


def _format(server: ServerProcess, run: list[str]) -> None:
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    # Given as one argument, because an id may begin with a dash.
    command = [*run, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "--config", str(server.config)]
    done = subprocess.run(
        [*command, "--ignore-formatted"],
        cwd=server.directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stdout.strip().splitlines() or [f"exit status {done.returncode}"]
        raise StackError(f"Kafka cannot format {server.directory / 'data'}: {said[0]}")


def answers(port: int | None) -> bool:
    """Say whether a broker on ``port`` names itself as a member of its cluster."""
    # kafka-python leaves sockets open when it cannot reach any broker, so it is asked only when it can.
    if port is None or not _speaks_kafka(port):
        return False
    # Imported here: it takes a while, and `stack down` does not need it.
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    try:
        client = KafkaAdminClient(
            bootstrap_servers=f"127.0.0.1:{port}", bootstrap_timeout_ms=5_000, request_timeout_ms=5_000
        )
        try:
            brokers = client.describe_cluster()["brokers"]
        finally:
            client.close()
    except KafkaError:
        return False
    # A broker that is still fenced answers, and refuses to create topics.
    return any(not broker["is_fenced"] for broker in brokers)


def _speaks_kafka(port: int) -> bool:
    """Say whether the first request of every client, ApiVersions (key 18, version 0), gets a reply."""
    correlation, client_id = 1, b"latentstream"
    request = struct.pack(f">hhih{len(client_id)}s", 18, 0, correlation, len(client_id), client_id)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            connection.settimeout(5.0)
            reply = connection.makefile("rb").read(8)
    except OSError:
        return False
    return reply[4:] == struct.pack(">i", correlation)
