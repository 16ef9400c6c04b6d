"""What refuses us is said in one line that names the setting and what to do, at once and without a trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from schemas.settings import KafkaSettings, RedisSettings, Settings
from tests.security.broker import Broker
from tests.security.certificates import Authority, Certificate
from tests.security.commands import command
from tests.security.conftest import PASSWORD
from tests.security.secure_redis import tls_port
from workers import connections
from workers.connections import ConnectionFailed

WRONG = "not-the-password"


@pytest.fixture(scope="module")
def client_certificate(authority: Authority) -> Certificate:
    return authority.issue("worker@latentstream.example", "worker")


def refused_by_kafka(broker: Broker, **values: Any) -> str:
    """Return what is told of a broker that does not take settings with these ``values``."""
    settings = Settings(kafka=KafkaSettings(**(broker.settings().model_dump() | values)))
    with pytest.raises(ConnectionFailed) as told:
        # Whoever waited for this would meet the time limit of tests.
        connections.consumer(settings, None, bootstrap_timeout_ms=3_600_000)
    assert "\n" not in str(told.value)
    return str(told.value)


def refused_by_redis(**values: Any) -> str:
    with pytest.raises(ConnectionFailed) as told:
        connections.redis_client(RedisSettings(**values)).close()
    assert "\n" not in str(told.value)
    return str(told.value)


def test_a_wrong_password_or_user_of_kafka(broker: Broker) -> None:
    for wrong in ({"sasl_password": WRONG}, {"sasl_username": "nobody"}):
        told = refused_by_kafka(broker, **wrong)
        assert "refuses LATENTSTREAM_KAFKA__SASL_USERNAME or LATENTSTREAM_KAFKA__SASL_PASSWORD" in told
        assert WRONG not in told


def test_a_mechanism_that_kafka_does_not_have(broker: Broker) -> None:
    told = refused_by_kafka(broker, sasl_mechanism="SCRAM-SHA-256")
    assert "does not take LATENTSTREAM_KAFKA__SASL_MECHANISM=SCRAM-SHA-256" in told


def test_a_broker_that_another_authority_has_signed(broker: Broker, stranger: Authority) -> None:
    assert "set LATENTSTREAM_KAFKA__SSL_CAFILE" in refused_by_kafka(broker, ssl_cafile=stranger.cafile)


def test_without_a_file_the_authorities_of_the_system_count(
    broker: Broker, authority: Authority, redis_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"rediss://127.0.0.1:{redis_port}/0"
    assert "set LATENTSTREAM_KAFKA__SSL_CAFILE" in refused_by_kafka(broker, ssl_cafile=None)
    assert "set LATENTSTREAM_REDIS__SSL_CAFILE" in refused_by_redis(url=url)
    # OpenSSL's own variable for where the system has them.
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.cafile))
    connections.admin(broker.settings().model_copy(update={"ssl_cafile": None})).close()
    connections.redis_client(RedisSettings(url=url)).close()


def test_a_certificate_for_another_host(broker: Broker, redis_port: int, authority: Authority) -> None:
    told = refused_by_kafka(broker, bootstrap_servers=broker.address.replace("127.0.0.1", "localhost"))
    assert "for another host" in told
    assert "give in LATENTSTREAM_KAFKA__BOOTSTRAP_SERVERS" in told
    told = refused_by_redis(url=f"rediss://localhost:{redis_port}/0", ssl_cafile=authority.cafile)
    assert "for another host" in told
    assert "give in LATENTSTREAM_REDIS__URL a name that it is for" in told


def test_a_broker_that_gives_a_name_that_its_certificate_is_not_for(broker: Broker, tmp_path: Path) -> None:
    found = {"bootstrap_servers": broker.astray_address, "security_protocol": "SSL"}
    settings = Settings(home=tmp_path, kafka=broker.settings().model_dump() | found)
    done = command(settings, "publish", "items", "-")
    assert done.status == 1
    assert "advertised.listeners" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SASL_PLAINTEXT", "SSL"])
def test_a_port_of_kafka_for_something_else(broker: Broker, protocol: str) -> None:
    cafile = broker.authority.cafile if protocol == "SSL" else None
    told = refused_by_kafka(broker, security_protocol=protocol, ssl_cafile=cafile)
    assert f"is LATENTSTREAM_KAFKA__SECURITY_PROTOCOL={protocol} right for this port?" in told


def test_tls_spoken_to_a_plaintext_port_of_kafka(broker: Broker, local_stack: Settings) -> None:
    told = refused_by_kafka(broker, bootstrap_servers=local_stack.kafka.bootstrap_servers)
    assert "LATENTSTREAM_KAFKA__SECURITY_PROTOCOL" in told


def test_kafka_with_client_certificates(broker: Broker, client_certificate: Certificate, stranger: Authority) -> None:
    mutual = {"bootstrap_servers": broker.mutual_address, "security_protocol": "SSL"}
    told = refused_by_kafka(broker, **mutual)
    assert "set LATENTSTREAM_KAFKA__SSL_CERTFILE and LATENTSTREAM_KAFKA__SSL_KEYFILE" in told
    foreign = stranger.issue("worker@latentstream.example", "worker")
    told = refused_by_kafka(broker, **mutual, ssl_certfile=foreign.both)
    assert "LATENTSTREAM_KAFKA__SSL_CERTFILE" in told
    own = {"ssl_certfile": client_certificate.certfile, "ssl_keyfile": client_certificate.keyfile}
    connections.admin(KafkaSettings(**(broker.settings().model_dump() | mutual | own))).close()


def test_redis_with_client_certificates(
    local_stack: Settings, authority: Authority, client_certificate: Certificate, tmp_path: Path
) -> None:
    plain_url = local_stack.redis.url.get_secret_value()
    with tls_port(plain_url, authority, authority.issue("127.0.0.1"), tmp_path, mutual=True) as port:
        given: dict[str, Any] = {"url": f"rediss://127.0.0.1:{port}/0", "ssl_cafile": authority.cafile}
        assert "LATENTSTREAM_REDIS__SSL_CERTFILE" in refused_by_redis(**given)
        connections.redis_client(RedisSettings(**given, ssl_certfile=client_certificate.both)).close()


def test_certificates_that_cannot_be_read(broker: Broker, redis_port: int, tmp_path: Path) -> None:
    missing, junk = tmp_path / "missing.pem", tmp_path / "junk.pem"
    junk.write_text("no certificate")
    url = f"rediss://127.0.0.1:{redis_port}/0"
    for path in (missing, junk):
        assert "LATENTSTREAM_KAFKA__SSL_CAFILE cannot be read" in refused_by_kafka(broker, ssl_cafile=path)
        assert "LATENTSTREAM_REDIS__SSL_CAFILE cannot be read" in refused_by_redis(url=url, ssl_cafile=path)
        assert "LATENTSTREAM_KAFKA__SSL_CERTFILE" in refused_by_kafka(broker, ssl_certfile=path)


def test_wrong_users_and_ports_of_redis(
    redis_port: int, redis_admin: Any, authority: Authority, local_stack: Settings, secure: Settings
) -> None:
    name = secure.kafka.sasl_username
    tls: dict[str, Any] = {"ssl_cafile": authority.cafile}
    told = refused_by_redis(url=f"rediss://{name}:{WRONG}@127.0.0.1:{redis_port}/0", **tls)
    assert "Redis refuses the user or the password in LATENTSTREAM_REDIS__URL" in told
    assert WRONG not in told
    redis_admin.execute_command("ACL", "SETUSER", name, "-ping")
    told = refused_by_redis(url=f"rediss://{name}:{quote(PASSWORD, safe='')}@127.0.0.1:{redis_port}/0", **tls)
    assert "Redis denies something to the user in LATENTSTREAM_REDIS__URL" in told
    assert "'ping'" in told
    told = refused_by_redis(url=f"redis://127.0.0.1:{redis_port}/0")
    assert "begin the URL with rediss://" in told
    plain = local_stack.redis.url.get_secret_value().replace("redis://", "rediss://")
    assert "Is the port for TLS (rediss://)" in refused_by_redis(url=plain, timeout_s=1, **tls)
