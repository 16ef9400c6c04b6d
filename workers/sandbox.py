"""A place of its own for a demo or a benchmark: topics, keys, consumer groups and models that nobody else uses.

It lives on the Kafka and the Redis of the settings, or else on the local stack, and is emptied at each
start, so that a run can be repeated and touches nothing of the user's.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import redis
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from deploy.local import stack
from schemas.events import CONTENT_TYPE_HEADER, JSON, InteractionEvent, ItemEvent, encode
from schemas.keys import Keys
from schemas.settings import ENV_PREFIX, Settings
from workers import connections
from workers.errors import Repairable
from workers.lookup import current_version

GROUPS: Final = ("encoder", "recommender")
# A worker that was killed leaves its group after so long.
SESSION_TIMEOUT_MS: Final = 10_000
CLEAR_TIMEOUT_S: Final = 20.0
SENT_TIMEOUT_S: Final = 60.0
_GONE: Final = ("OK", "GroupIdNotFoundError")
_POLL_S: Final = 0.2
_TOLD_EVERY: Final = 500
_KEYS_AT_A_TIME: Final = 1000

Overrides = dict[str, Any]


class SandboxError(Repairable):
    """The sandbox cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Sandbox:
    """Settings that lead into the sandbox, and the same as environment variables for other processes."""

    name: str
    settings: Settings
    variables: dict[str, str]

    @classmethod
    def open(cls, name: str, say: Callable[[str], None], changes: Mapping[str, Overrides] | None = None) -> Sandbox:
        """Start the local stack where it is needed, and return the sandbox called ``name``, empty.

        ``changes`` are settings of the sandbox by section, such as ``{"recommend": {"k": 20}}``.

        Raises:
            StackError, ConnectionFailed: Kafka or Redis cannot be started or reached.
            SandboxError: workers of an earlier run are still in it.
        """
        stack.up(Settings(), say)
        sandbox = cls._make(name, changes or {})
        sandbox.directory.mkdir(parents=True, exist_ok=True)
        sandbox._clear()
        connections.ensure_topics(sandbox.settings)
        return sandbox

    @classmethod
    def _make(cls, name: str, changes: Mapping[str, Overrides]) -> Sandbox:
        home = Settings().home
        sections: dict[str, Any] = {
            "kafka": {
                "items_topic": f"{name}-items",
                "interactions_topic": f"{name}-interactions",
                "dead_letters_topic": f"{name}-dead-letters",
                "anomalies_topic": f"{name}-anomalies",
                "group_prefix": name,
                "session_timeout_ms": SESSION_TIMEOUT_MS,
            },
            "redis": {"prefix": name},
            "model": {"registry": home / "sandboxes" / name / "models"},
        }
        for section, values in changes.items():
            sections[section] = sections.get(section, {}) | values
        variables = {f"{ENV_PREFIX}HOME": str(home)} | {
            f"{ENV_PREFIX}{section}__{field}".upper(): json.dumps(value)
            if isinstance(value, list | dict)
            else str(value)
            for section, values in sections.items()
            for field, value in values.items()
        }
        return cls(name, Settings(**sections), variables)

    @property
    def directory(self) -> Path:
        """Where logs, models and pictures of this sandbox are."""
        return self.settings.home / "sandboxes" / self.name

    @property
    def keys(self) -> Keys:
        """The names of its keys in Redis."""
        return Keys(self.settings.redis.prefix)

    @property
    def environment(self) -> dict[str, str]:
        """The environment for processes that work in the sandbox."""
        return os.environ | self.variables

    def write_environment(self) -> Path:
        """Write a file that a shell reads with ``.`` to work in the sandbox; return its path."""
        lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(self.variables.items())]
        if shutil.which("latentstream") is None:
            lines.append(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"')
        path = self.directory / "environment"
        path.write_text("\n".join([*lines, ""]))
        return path

    def publish(
        self,
        events: Iterable[ItemEvent] | Iterable[InteractionEvent],
        content_type: str = JSON,
        advance: Callable[[int], None] = lambda done: None,  # noqa: ARG005
    ) -> None:
        """Publish ``events`` in their order and wait until Kafka has all of them.

        ``advance`` is told now and then how many were handed over.

        Raises:
            ConnectionFailed: Kafka does not answer.
            SandboxError: Kafka refused an event.
        """
        producer = connections.producer(self.settings, linger_ms=20)
        headers = [(CONTENT_TYPE_HEADER, content_type.encode())]
        futures = []
        try:
            for event in events:
                is_item = isinstance(event, ItemEvent)
                topic = self.settings.kafka.items_topic if is_item else self.settings.kafka.interactions_topic
                key = event.item_id if isinstance(event, ItemEvent) else event.user_id
                value = encode(event, content_type)
                futures.append(producer.send(topic, key=key.encode(), value=value, headers=headers))
                if len(futures) % _TOLD_EVERY == 0:
                    advance(len(futures))
            producer.flush(timeout=SENT_TIMEOUT_S)
            for future in futures:
                future.get(timeout=SENT_TIMEOUT_S)
        except KafkaError as error:
            raise SandboxError(f"Kafka did not take an event of {self.name}: {error}") from error
        finally:
            producer.close(timeout=SENT_TIMEOUT_S)

    def _clear(self) -> None:
        """Delete the keys, topics, groups and models of earlier runs."""
        admin = connections.admin(self.settings.kafka)
        try:
            self._clear_groups(admin)
            self._clear_topics(admin)
        finally:
            admin.close()
        client = connections.redis_client(self.settings.redis)
        names = client.scan_iter(match=f"{self.settings.redis.prefix}:*", count=_KEYS_AT_A_TIME)
        while batch := list(islice(names, _KEYS_AT_A_TIME)):
            client.unlink(*batch)
        shutil.rmtree(self.settings.registry, ignore_errors=True)

    def _clear_groups(self, admin: KafkaAdminClient) -> None:
        deadline = time.monotonic() + CLEAR_TIMEOUT_S
        ours = {f"{self.settings.kafka.group_prefix}-{role}" for role in GROUPS}
        for group in sorted(ours & _groups(admin, deadline)):
            # Each group has a result of its own, the name of an error or "OK"; nothing is raised.
            while (result := admin.delete_groups([group])[group]) not in _GONE:
                if time.monotonic() > deadline:
                    raise SandboxError(
                        f"workers of an earlier run are still in {self.name} (consumer group {group}: {result}). "
                        f"Stop them with: kill $(cat {self.directory}/*.pid)"
                    )
                time.sleep(_POLL_S)

    def _clear_topics(self, admin: KafkaAdminClient) -> None:
        kafka = self.settings.kafka
        ours = {kafka.items_topic, kafka.interactions_topic, kafka.dead_letters_topic, kafka.anomalies_topic}
        there = ours & set(admin.list_topics())
        if there:
            admin.delete_topics(sorted(there))
        deadline = time.monotonic() + CLEAR_TIMEOUT_S
        while ours & set(admin.list_topics()):
            if time.monotonic() > deadline:
                raise SandboxError(f"Kafka does not delete the topics of {self.name}: delete {', '.join(sorted(ours))}")
            time.sleep(_POLL_S)


def _groups(admin: KafkaAdminClient, deadline: float) -> set[str]:
    """Return all consumer groups. A broker that was just started may still be reading what it knows of them."""
    while True:
        try:
            return {found["group_id"] for found in admin.list_groups()}
        except KafkaError as error:
            if not error.retriable or time.monotonic() > deadline:
                raise SandboxError(f"Kafka does not say which consumer groups there are: {error}") from error
        time.sleep(_POLL_S)


class Backlog:
    """How much of what was published the workers have not processed."""

    def __init__(self, sandbox: Sandbox, client: redis.Redis) -> None:
        self._kafka = sandbox.settings.kafka
        self._keys = sandbox.keys
        self._redis = client
        self._consumer: KafkaConsumer = connections.consumer(sandbox.settings, None)

    def items(self) -> int:
        """Return the number of item events that are not encoded yet under the current model."""
        version = current_version(self._redis, self._keys) or ""
        return self._left(self._kafka.items_topic, lambda partition: self._keys.items(version, partition).position)

    def interactions(self) -> int:
        """Return the number of interaction events that are not in any list yet."""
        return self._left(self._kafka.interactions_topic, lambda partition: self._keys.users(partition).position)

    def close(self) -> None:
        """Disconnect from Kafka."""
        self._consumer.close(timeout_ms=1000)

    def _left(self, topic: str, position_key: Callable[[int], str]) -> int:
        count = connections.partitions(self._consumer, [topic])[topic]
        ends = self._consumer.end_offsets([TopicPartition(topic, partition) for partition in range(count)])
        pipeline = self._redis.pipeline(transaction=False)
        for partition in range(count):
            pipeline.hget(position_key(partition), "next")
        positions = [int(position or 0) for position in pipeline.execute()]
        return sum(int(ends[TopicPartition(topic, n)]) - position for n, position in enumerate(positions))
