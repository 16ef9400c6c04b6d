"""A Kafka broker with TLS, SCRAM users and access control, of the tests' own."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from kafka.errors import KafkaError
from pydantic import SecretStr

from deploy.local import kafka
from deploy.local.processes import free_ports
from schemas.settings import KafkaSettings
from tests.e2e.conftest import wait_until
from tests.security.certificates import Authority
from workers import connections

ADMIN_PASSWORD: Final = "admin-of-the-tests"
_PLAIN: Final = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_SCRAM: Final = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


class Broker:
    """SASL_SSL with SCRAM-SHA-512 at ``address``, SSL with client certificates at ``mutual_address``.

    At ``astray_address`` it speaks SSL, and says that it is called ``localhost``, which its certificate is not for.
    Nobody may do anything but the tests themselves (``User:admin``), until :meth:`allow`.
    """

    def __init__(self, address: str, mutual_address: str, astray_address: str, authority: Authority) -> None:
        self.address = address
        self.mutual_address = mutual_address
        self.astray_address = astray_address
        self.authority = authority

    def settings(self, user: str = "admin", password: str = ADMIN_PASSWORD) -> KafkaSettings:
        """Return what leads to the broker as a user; ``admin`` may do everything."""
        return KafkaSettings(
            bootstrap_servers=self.address,
            security_protocol="SASL_SSL",
            sasl_mechanism="PLAIN" if user == "admin" else "SCRAM-SHA-512",
            sasl_username=user,
            sasl_password=SecretStr(password),
            ssl_cafile=self.authority.cafile,
        )

    def admin(self) -> KafkaAdminClient:
        """Return a client that may do everything."""
        return connections.admin(self.settings())

    def add_user(self, name: str, password: str) -> None:
        """Make a SCRAM user, and wait until the broker knows it."""
        with self.admin() as client:
            mechanism = ScramMechanism.SCRAM_SHA_512
            told = client.alter_user_scram_credentials([UserScramCredentialUpsertion(name, mechanism, password)])
        assert told == {name: None}
        wait_until(lambda: _answers(self.settings(name, password)), f"the user {name}")

    def allow(self, user: str, kind: ResourceType, name: str, *operations: ACLOperation) -> None:
        """Let ``user`` do ``operations`` on the topics or groups whose names begin with ``name``."""
        with self.admin() as client:
            told = client.create_acls(_acls(user, kind, name, operations))
        assert told["failed"] == []

    def forbid(self, user: str, kind: ResourceType, name: str, *operations: ACLOperation) -> None:
        """Take back what :meth:`allow` allowed."""
        filters = [
            ACLFilter(acl.principal, acl.host, acl.operation, acl.permission_type, acl.resource_pattern)
            for acl in _acls(user, kind, name, operations)
        ]
        with self.admin() as client:
            told = client.delete_acls(filters)
        assert all(matching for _, matching, _ in told)


def _acls(user: str, kind: ResourceType, name: str, operations: Iterable[ACLOperation]) -> list[ACL]:
    resource = ResourcePattern(kind, name, ACLResourcePatternType.PREFIXED)
    return [ACL(f"User:{user}", "*", operation, ACLPermissionType.ALLOW, resource) for operation in operations]


@contextmanager
def running(directory: Path, authority: Authority) -> Iterator[Broker]:
    """Run a broker with a certificate for 127.0.0.1 (not for ``localhost``) by ``authority``."""
    server = kafka.process(directory)
    mutual_port, astray_port = free_ports([None, None])
    certificate = authority.issue("127.0.0.1")
    try:
        kafka.start(server, print, _configuration(mutual_port, astray_port, certificate.both, authority.cafile))
        found, mutual, astray = (f"127.0.0.1:{port}" for port in (server.port, mutual_port, astray_port))
        broker = Broker(found, mutual, astray, authority)
        server.wait_until(lambda: _answers(broker.settings()), kafka.START_TIMEOUT_S)
        yield broker
    finally:
        server.terminate()
        server.wait_ended(kafka.STOP_TIMEOUT_S, print)


def _configuration(mutual_port: int, astray_port: int, keystore: Path, truststore: Path) -> dict[str, str]:
    listeners = f"BROKER://127.0.0.1:${{port}},MUTUAL://127.0.0.1:{mutual_port}"
    broker = "listener.name.broker"
    return {
        "listeners": f"{listeners},ASTRAY://127.0.0.1:{astray_port},CONTROLLER://127.0.0.1:${{controller_port}}",
        "advertised.listeners": f"{listeners},ASTRAY://localhost:{astray_port}",
        "listener.security.protocol.map": "BROKER:SASL_SSL,MUTUAL:SSL,ASTRAY:SSL,CONTROLLER:PLAINTEXT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(keystore),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(truststore),
        "listener.name.mutual.ssl.client.auth": "required",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        f"{broker}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        f"{broker}.plain.sasl.jaas.config": f'{_PLAIN} username="admin" password="{ADMIN_PASSWORD}" '
        f'user_admin="{ADMIN_PASSWORD}";',
        f"{broker}.scram-sha-512.sasl.jaas.config": _SCRAM,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # The controller's own listener knows nobody by name.
        "super.users": "User:admin;User:ANONYMOUS",
    }


def _answers(kafka: KafkaSettings) -> bool:
    host, _, port = kafka.bootstrap_servers.partition(":")
    try:
        # kafka-python leaves a socket open for each attempt that finds nobody.
        socket.create_connection((host, int(port)), timeout=1.0).close()
        with connections.admin(kafka) as client:
            return any(not found["is_fenced"] for found in client.describe_cluster()["brokers"])
    except (OSError, connections.ConnectionFailed, KafkaError):
        return False
