"""Clients of Kafka and Redis, made from the settings, and the topics."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any, Final

import redis
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import AuthorizationError, KafkaError, TopicAlreadyExistsError
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

from schemas.settings import KafkaSettings, RedisSettings, Settings
from workers import fetching
from workers.bootstrap import Bootstrap, HandshakeSocket
from workers.errors import Repairable
from workers.refusals import kafka_reason, redis_reason

KAFKA_TIMEOUT_MS: Final = 10_000
FETCH_BYTES: Final = 8 << 20
# A batch that becomes larger than this, and than some of the largest events, is no honest one.
_LARGEST_BATCH: Final = 64 << 20
METADATA_MAX_AGE_MS: Final = 15_000
_RECONNECT_MS: Final = 2_000
_REDIS_TLS: Final = {"ssl_ca_certs": "ssl_cafile", "ssl_certfile": "ssl_certfile", "ssl_keyfile": "ssl_keyfile"}
# A dead letter carries the event and, in its headers, the reason.
_HEADER_ROOM: Final = 64 * 1024
# Long enough to look after a holiday; what is marked now stands in Redis however old the event is.
_ANOMALIES_KEPT_MS: Final = 30 * 24 * 3600 * 1000

_ASSIGNORS: Final = {"eager": [RangePartitionAssignor], "cooperative": [CooperativeStickyAssignor]}


class ConnectionFailed(Repairable):
    """Kafka or Redis cannot be reached as the settings say."""


def redis_client(settings: RedisSettings) -> redis.Redis:
    """Return a connected client (replies are bytes); commands are repeated after a lost connection.

    Every write of the workers may be repeated: the Lua calls check the position first.

    Raises:
        ConnectionFailed: no address, or no answer from it.
    """
    url = settings.url.get_secret_value()
    if not url:
        raise ConnectionFailed(
            "no Redis address: run `latentstream stack up`, or set LATENTSTREAM_REDIS__URL=redis://host:port/0"
        )
    tls: dict[str, Any] = {}
    if settings.tls:
        _tls_context(settings, "REDIS")  # redis-py would read the files at each connection, and say less of them.
        tls = {name: getattr(settings, setting) for name, setting in _REDIS_TLS.items()}
    try:
        client = redis.Redis.from_url(
            url,
            **tls,
            protocol=2,  # Replies as lists, the same shape from every server version.
            socket_timeout=settings.timeout_s,
            socket_connect_timeout=settings.timeout_s,
            # Whoever has just started learns at once what is wrong.
            retry=Retry(NoBackoff(), retries=0),
            health_check_interval=30,
        )
    except ValueError:
        # Not `from error`, and not its text: it may quote the URL, which may have a password in it.
        raise ConnectionFailed("LATENTSTREAM_REDIS__URL is not redis://[user:password@]host:port/db") from None
    try:
        client.ping()
        client.set_retry(Retry(ExponentialBackoff(cap=1.0, base=0.05), retries=3))
    except redis.RedisError as error:
        client.close()
        raise ConnectionFailed(redis_reason(error, tls=settings.tls)) from error
    return client


def consumer(settings: Settings, group: str | None, **options: Any) -> KafkaConsumer:
    """Return a consumer that never commits by itself; what it holds is bounded.

    Without a ``group`` it starts at the beginning. The members of a group seek to where they begin, and what they
    ask for is never replaced by something else: a gap is an OffsetOutOfRangeError, not silence.

    Raises:
        ConnectionFailed: no address, or no answer from it.
    """
    defaults: dict[str, Any] = {
        "group_id": group and f"{settings.kafka.group_prefix}-{group}",
        "enable_auto_commit": False,
        "auto_offset_reset": "none" if group else "earliest",
        # So soon it is noticed that a topic was made anew, or has more partitions.
        "metadata_max_age_ms": METADATA_MAX_AGE_MS,
        "allow_auto_create_topics": False,
        "partition_assignment_strategy": _ASSIGNORS[settings.kafka.assignment],
        "session_timeout_ms": settings.kafka.session_timeout_ms,
        "heartbeat_interval_ms": settings.kafka.session_timeout_ms // 10,
        "max_poll_interval_ms": settings.kafka.max_poll_interval_ms,
        "max_poll_records": settings.events.batch,
        # A broker sends so much at a time, and again only when the most of it is processed: this, and as much that is
        # on its way, is what waits in memory for each broker. Its largest message always fits.
        "fetch_max_bytes": max(FETCH_BYTES, _largest_message(settings)),
        # Far less would make many small fetches of a backlog; more would let one partition keep out the others.
        "max_partition_fetch_bytes": 1 << 20,
    }
    made: KafkaConsumer = _connected(KafkaConsumer, settings.kafka, defaults | options)
    fetching.bound(made, largest_batch(settings))
    return made


def producer(settings: Settings, **options: Any) -> KafkaProducer:
    """Return an idempotent producer that waits for all in-sync replicas.

    Raises:
        ConnectionFailed: no address, or no answer from it.
    """
    defaults: dict[str, Any] = {
        "acks": "all",
        "enable_idempotence": True,
        "compression_type": "lz4",
        # The main loop waits for it where a topic or its leader is missing, and then says so and tries again.
        "max_block_ms": KAFKA_TIMEOUT_MS,
        "max_request_size": _largest_message(settings),
    }
    return _connected(KafkaProducer, settings.kafka, defaults | options)


def admin(settings: KafkaSettings) -> KafkaAdminClient:
    """Return an admin client.

    Raises:
        ConnectionFailed: no address, or no answer from it.
    """
    return _connected(KafkaAdminClient, settings, {})


def ensure_topics(settings: Settings) -> None:
    """Create the topics that are missing, where the settings allow it.

    Raises:
        ConnectionFailed: a topic is missing and may not or cannot be created.
    """
    kafka = settings.kafka
    # Events above the limit must still reach the worker, which gives the reason; and so must their
    # dead letters. Twice the limit leaves room for both.
    largest = {"max.message.bytes": str(_largest_message(settings))}
    configs = {
        kafka.items_topic: largest | {"cleanup.policy": "compact"},
        kafka.interactions_topic: largest,
        kafka.dead_letters_topic: largest,
        # Not compacted: nothing would ever take back the last event of an item that is ordinary again, or gone.
        kafka.anomalies_topic: {"cleanup.policy": "delete", "retention.ms": str(_ANOMALIES_KEPT_MS)},
    }
    client = admin(kafka)
    try:
        missing = set(configs) - set(client.list_topics())
        if not missing:
            return
        if not kafka.create_topics:
            raise ConnectionFailed(
                f"topics are missing, or hidden from this user: {', '.join(sorted(missing))}. Create them and let "
                "LATENTSTREAM_KAFKA__SASL_USERNAME use them, or set LATENTSTREAM_KAFKA__CREATE_TOPICS=true"
            )
        for topic in sorted(missing):
            _create_topic(client, kafka, topic, configs[topic])
    finally:
        client.close()


def _create_topic(client: KafkaAdminClient, kafka: KafkaSettings, topic: str, configs: dict[str, str]) -> None:
    shape = {
        "num_partitions": kafka.partitions,
        "replication_factor": kafka.replication_factor,
        "configs": configs,
    }
    try:
        client.create_topics({topic: shape}, timeout_ms=KAFKA_TIMEOUT_MS, wait_for_metadata=True)
    except TopicAlreadyExistsError:
        return  # Another worker that starts now was faster.
    except AuthorizationError as error:
        raise ConnectionFailed(
            f"topic {topic!r} is missing, or hidden from LATENTSTREAM_KAFKA__SASL_USERNAME, who may not create it: "
            "create it, and grant that user the operations that the README lists for Kafka"
        ) from error
    except KafkaError as error:
        raise ConnectionFailed(f"topic {topic!r} cannot be created: {error}") from error


def partitions(client: KafkaConsumer, topics: Sequence[str]) -> dict[str, int]:
    """Return the number of partitions of each topic.

    Raises:
        ConnectionFailed: a topic does not exist.
    """
    counts = {}
    for topic in topics:
        found = client.partitions_for_topic(topic)
        if not found:
            raise ConnectionFailed(f"topic {topic!r} does not exist")
        counts[topic] = len(found)
    return counts


def largest_batch(settings: Settings) -> int:
    """Return how many bytes a batch may decompress to: what is larger is refused as a whole."""
    return max(_LARGEST_BATCH, 4 * _largest_message(settings))


def _largest_message(settings: Settings) -> int:
    return 2 * settings.events.max_bytes + _HEADER_ROOM


def _connected(kind: Any, kafka: KafkaSettings, options: dict[str, Any]) -> Any:
    """Return ``kind(**options)`` with addresses and credentials, its errors put in plain words."""
    if not kafka.bootstrap_servers:
        raise ConnectionFailed(
            "no Kafka address: run `latentstream stack up`, or set LATENTSTREAM_KAFKA__BOOTSTRAP_SERVERS=host:port"
        )
    bootstrap = Bootstrap()
    options |= {
        "bootstrap_servers": kafka.bootstrap_servers.split(","),
        "security_protocol": kafka.security_protocol,
        # A broker that comes back is found soon; by default attempts become 30 s apart.
        "reconnect_backoff_max_ms": _RECONNECT_MS,
        "kafka_client": bootstrap.client,
    }
    if kafka.tls:
        context = options["ssl_context"] = _tls_context(kafka, "KAFKA")
        context.sslsocket_class = HandshakeSocket
    if kafka.sasl_password is not None:
        options |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.sasl_username,
            "sasl_plain_password": kafka.sasl_password.get_secret_value(),
        }
    try:
        with bootstrap:
            return kind(**options)
    except (KafkaError, ValueError) as error:
        raise ConnectionFailed(kafka_reason(bootstrap.reason or error, kafka)) from error


def _tls_context(section: KafkaSettings | RedisSettings, name: str) -> ssl.SSLContext:
    """Return a context that trusts the authority in the settings, or those of the system, and checks host names."""
    try:
        context = ssl.create_default_context(cafile=section.ssl_cafile)
    except OSError as error:
        raise ConnectionFailed(f"LATENTSTREAM_{name}__SSL_CAFILE cannot be read: {error}") from error
    if section.ssl_certfile is not None:
        try:
            context.load_cert_chain(section.ssl_certfile, section.ssl_keyfile)
        except OSError as error:
            raise ConnectionFailed(
                f"LATENTSTREAM_{name}__SSL_CERTFILE and SSL_KEYFILE cannot be read as certificate and key: {error}"
            ) from error
    return context
