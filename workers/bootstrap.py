"""The first contact with Kafka ends as soon as no further attempt can help, and says why.

kafka-python 3.0.12 goes on until its timeout whatever the brokers say, and then says only that time is up.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections import Counter
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from workers.refusals import SASL_ERRORS, tls_error

# A broker that starts refuses connections; it does not take them and hang up, time and again.
_HUNG_UP_OFTEN: Final = 3


class Bootstrap:
    """Makes the network side of one client (``kafka_client=bootstrap.client``) and knows why that failed.

    While it is entered kafka-python is quiet, which otherwise writes five lines about each attempt.
    """

    _lock = threading.Lock()
    _entered = 0

    def __init__(self) -> None:
        self._client: Any = None

    def client(self, **configs: Any) -> KafkaNetClient:
        """Return what kafka-python's clients are built upon."""
        net = NetworkSelector(**configs)
        self._client = KafkaNetClient(net, _Manager(net, **configs))
        return self._client

    @property
    def reason(self) -> Exception | None:
        """Why the last connection failed; None where none did."""
        return self._client._manager.last_failure if self._client is not None else None

    def __enter__(self) -> Self:
        self._count(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._count(-1)
        if error is not None and self._client is not None:
            self._client.close()

    @classmethod
    def _count(cls, change: int) -> None:
        with cls._lock:
            cls._entered += change
            logging.getLogger("kafka").setLevel(logging.CRITICAL if cls._entered else logging.NOTSET)


class HandshakeSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; kafka-python would leave that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        """See the base class."""
        try:
            super().do_handshake(block)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError:
            self.close()
            raise


class _Manager(KafkaConnectionManager):  # type: ignore[misc]  # kafka-python has no types
    def __init__(self, net: NetworkSelector, **configs: Any) -> None:
        super().__init__(net, **configs)
        self.last_failure: Exception | None = None
        self._accepted: set[str] = set()
        self._hung_up: Counter[str] = Counter()
        self._hopeless: set[str] = set()

    def get_connection(self, node_id: Any, *args: Any, **options: Any) -> Any:
        if self.bootstrapped:
            return super().get_connection(node_id, *args, **options)
        # One address of several may be wrong.
        if self.last_failure is not None and all(
            broker.node_id in self._hopeless for broker in self.cluster.bootstrap_brokers()
        ):
            raise self.last_failure
        before = self._conns.get(node_id)
        connection = super().get_connection(node_id, *args, **options)
        if connection is not before:
            connection.close_future.add_errback(partial(self._note, node_id))
        return connection

    async def _build_transport(self, node: Any, **options: Any) -> Any:
        self._accepted.discard(node.node_id)
        transport = await super()._build_transport(node, **options)
        self._accepted.add(node.node_id)
        receive = transport._sock_recv

        def with_last_words() -> tuple[bytes, Exception | None]:
            """Keep what came with the end of the connection, which kafka-python drops: it says why it ended."""
            data, error = receive()
            return (data, None) if data else (data, error)

        transport._sock_recv = with_last_words
        return transport

    def _note(self, node_id: str, error: Exception) -> None:
        """Remember why a connection ended, and whether another one to the same address is any use."""
        if self.closed or self.bootstrapped:
            return
        self.last_failure = error
        tls = tls_error(error)
        # Either in the handshake, or after it.
        self._hung_up[node_id] += isinstance(error.__context__, OSError) or node_id in self._accepted
        refused = isinstance(error, SASL_ERRORS) or (tls is not None and not isinstance(tls, ssl.SSLEOFError))
        if refused or self._hung_up[node_id] >= _HUNG_UP_OFTEN:
            self._hopeless.add(node_id)
