"""Kafka with TLS, SCRAM and access control, Redis with TLS and users, and settings that lead a worker to them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
import redis
from kafka.admin import ACLOperation, ResourceType

from models.training import train
from schemas.settings import Settings
from tests.e2e.test_acl import USERS
from tests.models import boards
from tests.security.broker import ADMIN_PASSWORD, Broker, running
from tests.security.certificates import Authority
from tests.security.secure_redis import tls_port

# With everything in it that a URL or a configuration file could stumble over.
PASSWORD: Final = 'p@ss/w:rd #"1%?'
# What a worker does in Kafka: (kind, name, operation); DESCRIBE comes with each.
KAFKA_RIGHTS: Final = (
    (ResourceType.TOPIC, "items", ACLOperation.READ),
    (ResourceType.TOPIC, "interactions", ACLOperation.READ),
    (ResourceType.TOPIC, "dead-letters", ACLOperation.WRITE),
    (ResourceType.TOPIC, "anomalies", ACLOperation.WRITE),
    (ResourceType.GROUP, "", ACLOperation.READ),
)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "ours")


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a model of the checker-board, in a registry of its own."""
    return train(boards.both(), boards.SETTINGS, "both").save(tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that has signed nothing of ours."""
    return Authority(tmp_path_factory.mktemp("authority") / "other")


@pytest.fixture(scope="session")
def broker(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running(tmp_path_factory.mktemp("secure-kafka"), authority) as started:
        yield started


@pytest.fixture(scope="session")
def redis_port(authority: Authority, local_stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port at which Redis speaks TLS."""
    plain_url = local_stack.redis.url.get_secret_value()
    certificate = authority.issue("127.0.0.1")
    with tls_port(plain_url, authority, certificate, tmp_path_factory.mktemp("secure-redis")) as port:
        yield port


@pytest.fixture(scope="session")
def redis_admin(redis_port: int, authority: Authority) -> Iterator[Any]:
    url = f"rediss://127.0.0.1:{redis_port}/0"
    with redis.Redis.from_url(url, protocol=2, ssl_ca_certs=str(authority.cafile)) as client:
        yield client


@contextmanager
def user_of(broker: Broker, redis_port: int, redis_admin: Any, home: Path) -> Iterator[Settings]:
    """Give settings of a worker that may do what it must, in topics and keys that no other test has."""
    name = f"t{uuid.uuid4().hex[:12]}"
    broker.add_user(name, PASSWORD)
    for kind, what, operation in KAFKA_RIGHTS:
        broker.allow(name, kind, f"{name}-{what}", operation)
    rules = [rule.replace("ls:", f"{name}:").replace(">PASSWORD", f">{PASSWORD}") for rule in USERS["worker"]]
    redis_admin.execute_command("ACL", "SETUSER", name, *rules)
    kafka = broker.settings(name, PASSWORD).model_dump() | {
        "items_topic": f"{name}-items",
        "interactions_topic": f"{name}-interactions",
        "dead_letters_topic": f"{name}-dead-letters",
        "anomalies_topic": f"{name}-anomalies",
        "group_prefix": name,
        "partitions": 2,
        "session_timeout_ms": 6_000,
    }
    url = f"rediss://{name}:{quote(PASSWORD, safe='')}@127.0.0.1:{redis_port}/0"
    sections: dict[str, Any] = {
        "kafka": kafka,
        "redis": {"url": url, "ssl_cafile": broker.authority.cafile, "prefix": name},
    }
    yield Settings(home=home, **sections)
    redis_admin.execute_command("ACL", "DELUSER", name)


@pytest.fixture
def secure(broker: Broker, redis_port: int, redis_admin: Any, tmp_path: Path) -> Iterator[Settings]:
    with user_of(broker, redis_port, redis_admin, tmp_path / "home") as settings:
        yield settings


def changed(settings: Settings, section: str, **values: Any) -> Settings:
    """Return ``settings`` with other values in one section."""
    before = settings.model_dump()
    return Settings(**(before | {section: before[section] | values}))


def as_admin(settings: Settings) -> Settings:
    """Return ``settings`` as whom Kafka denies nothing."""
    admin = {"sasl_mechanism": "PLAIN", "sasl_username": "admin", "sasl_password": ADMIN_PASSWORD}
    return changed(settings, "kafka", **admin)
