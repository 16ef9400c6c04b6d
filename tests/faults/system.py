"""One running system: topics and keys of its own, workers that come and go, and the reference beside them."""

from __future__ import annotations

import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from kafka import KafkaProducer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from models.bundle import Bundle
from models.registry import Registry
from schemas.keys import Keys
from schemas.settings import Settings
from tests.faults.points import ROLES, Action, Role
from tests.faults.reference import Letter, Reference
from tests.faults.servers import SESSION_TIMEOUT_MS, Servers
from tests.faults.stored import Stored
from tests.faults.stream import Message, Stream
from tests.fork_server import ForkServer
from tests.processes import WorkerProcess, environment
from workers import connections
from workers.topic_reader import bounds, read_range

# Whatever was done to it, the system is as it must be so soon after.
SETTLED_WITHIN_S: Final = 120.0
_EQUAL_WITHIN_S: Final = 20.0
_AGAIN_S: Final = 1.5


class Difference(AssertionError):  # noqa: N818 - named after what is found
    """Something is not as the reference has it, or a worker did not do what it must."""


class System:
    """A system under ``servers`` with the model ``version``, whose stream depends on ``seed`` only."""

    def __init__(
        self, servers: Servers, fork_server: ForkServer, home: Path, version: str, seed: int, **changes: dict[str, Any]
    ) -> None:
        name = f"f{uuid.uuid4().hex[:8]}"
        sections: dict[str, dict[str, Any]] = {
            "kafka": {
                "bootstrap_servers": servers.bootstrap_servers,
                "items_topic": f"{name}-items",
                "interactions_topic": f"{name}-interactions",
                "dead_letters_topic": f"{name}-dead-letters",
                "anomalies_topic": f"{name}-anomalies",
                "group_prefix": name,
                "partitions": 3,
                "session_timeout_ms": SESSION_TIMEOUT_MS,
            },
            "redis": {"url": servers.redis_url, "prefix": name, "timeout_s": 2.0},
            "events": {"batch": 60},
            "recommend": {"k": 20, "history": 40, "popular_refresh_s": 0.5},
            "model": {"registry": home / "models"},
        }
        for section, values in changes.items():
            sections[section] |= values
        self.settings = Settings(home=home / name, **sections)  # type: ignore[arg-type]
        self.servers = servers
        self.client = servers.client()
        self.keys = Keys(name)
        self.workers: list[WorkerProcess] = []
        self._leaving: list[WorkerProcess] = []
        self.earlier_letters: set[Letter] = set()
        self._fork_server = fork_server
        connections.ensure_topics(self.settings)
        self.client.hset(self.keys.model, "version", version)
        bundle: Bundle = Registry(self.settings.registry).load(version)
        self.reference = Reference(self.settings, bundle)
        self.stream = Stream(self.settings, seed)
        self._producer: KafkaProducer = connections.producer(self.settings, linger_ms=5, max_block_ms=120_000)
        self._consumer = connections.consumer(self.settings, None, max_poll_records=5_000)
        self._read: dict[TopicPartition, int] = {}
        self.publish(self.stream.catalogue())

    def move(self, partitions: int) -> None:
        """Go on with topics, keys and a reference of their own, as who moves to another number of partitions."""
        name, events = f"f{uuid.uuid4().hex[:8]}", self.reference.events
        old = self.settings
        kafka = {
            f"{topic}_topic": f"{name}-{topic.replace('_', '-')}"
            for topic in ("items", "interactions", "dead_letters", "anomalies")
        }
        changes: dict[str, Any] = kafka | {"group_prefix": name, "partitions": partitions}
        self.settings = old.model_copy(
            update={
                "kafka": old.kafka.model_copy(update=changes),
                "redis": old.redis.model_copy(update={"prefix": name}),
            }
        )
        self.client.hset(Keys(name).model, "version", self.reference.bundle.version)
        self.keys = Keys(name)
        connections.ensure_topics(self.settings)
        self.reference = Reference(self.settings, self.reference.bundle, events)
        self.stream = Stream(self.settings, partitions)

    @property
    def topics(self) -> tuple[str, str]:
        """Items and interactions."""
        return self.settings.kafka.items_topic, self.settings.kafka.interactions_topic

    def start(self, role: Role, prepare: Sequence[Any] = ()) -> WorkerProcess:
        """Start a worker, with something prepared for it."""
        worker = WorkerProcess(self.settings, role, self._fork_server, prepare)
        self.workers.append(worker)
        return worker

    def start_armed(self, role: Role, point: str, hit: int, action: Action) -> WorkerProcess:
        """Start a worker to which ``action`` happens at ``point``."""
        return self.start(role, ["tests.faults.points:arm", role, point, hit, action])

    def of(self, role: Role) -> list[WorkerProcess]:
        """Return the running workers of a role, without those that were asked to end."""
        return [worker for worker in self.workers if worker.role == role and worker.is_running()]

    def ensure(self) -> None:
        """Have a worker of each role, as a supervisor would."""
        for role in ROLES:
            if not self.of(role):
                self.start(role)

    def let_go(self, worker: WorkerProcess) -> None:
        """Ask a worker to end; it counts as gone at once."""
        worker.terminate()
        self.workers.remove(worker)
        self._leaving.append(worker)

    def retire(self, role: Role, but: WorkerProcess | None = None) -> None:
        """Ask the workers of a role to end, all but one."""
        for worker in self.of(role):
            if worker is not but:
                self.let_go(worker)

    def stop(self, role: Role) -> None:
        """Ask the workers of a role to end, and wait until they have."""
        self.retire(role)
        for worker in self._leaving:
            worker.wait(SETTLED_WITHIN_S)

    def command(self, *words: str) -> None:
        """Run a command as a person would; it must succeed."""
        log = self.settings.home / f"command-{time.monotonic_ns()}.log"
        status = self._fork_server.fork(words, environment(self.settings), log).wait(SETTLED_WITHIN_S)
        if status:
            raise Difference(f"latentstream {' '.join(words)} ended with {status}: {log.read_text()}")

    def committed(self, role: Role) -> dict[int, int]:
        """Return what a role has committed to Kafka, by partition."""
        topic = self.topics[role == "recommender"]
        consumer = connections.consumer(self.settings, role)
        try:
            found = {number: consumer.committed(TopicPartition(topic, number)) for number in range(3)}
        finally:
            consumer.close(autocommit=False, timeout_ms=1_000)
        return {number: offset for number, offset in found.items() if offset is not None}

    def publish(self, messages: Iterable[Message]) -> None:
        """Publish and wait until all is acknowledged."""
        sent = [self._producer.send(one.topic, key=one.key, value=one.value) for one in messages]
        self._producer.flush(timeout=SETTLED_WITHIN_S)
        for future in sent:
            future.get(timeout=SETTLED_WITHIN_S)

    def promote(self, version: str) -> None:
        """Make another model the current one; from now on all must become as it is under that."""
        self.reference.earlier.add(self.reference.bundle.version)
        self.reference.bundle = Registry(self.settings.registry).load(version)
        self.client.hset(self.keys.model, "version", version)

    def load(self, items: int, interactions: int) -> None:
        """Publish so many events of each kind."""
        self.publish(self.stream.items(items) + self.stream.interactions(interactions))

    def load_until(self, items: int, interactions: int, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Publish so many events again and again until ``condition`` holds; return whether it did in time."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            self.load(items, interactions)
            again = time.monotonic() + _AGAIN_S
            while time.monotonic() < again:
                if condition():
                    return True
                time.sleep(0.02)
        return condition()

    def forget(self, topic: str) -> None:
        """Let the reference read ``topic`` from its beginning: it was made anew."""
        self._read = {partition: offset for partition, offset in self._read.items() if partition.topic != topic}

    def ends(self, topic: str) -> dict[int, int]:
        """Return the end of each partition."""
        return {partition.partition: end for partition, end in bounds(self._consumer, topic)[1].items()}

    def position(self, topic: str, partition: int) -> int:
        """Return the stored position, -1 where there is none."""
        items = topic == self.topics[0]
        keys: Any = self.keys.items(self.reference.bundle.version, partition) if items else self.keys.users(partition)
        return int(self.client.hget(keys.position, "next") or -1)

    def lag(self, topic: str) -> int:
        """Return how many events are not processed."""
        return sum(end - max(self.position(topic, partition), 0) for partition, end in self.ends(topic).items())

    def wait(self, condition: Callable[[], object], what: str, timeout_s: float = SETTLED_WITHIN_S) -> None:
        """Wait until ``condition`` holds.

        Raises:
            Difference: it does not in time.
        """
        end = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end:
                logs = "\n".join(f"--- {one.role} {one.pid}\n{one.log()[-3000:]}" for one in self.workers[-4:])
                raise Difference(f"not within {timeout_s:.0f} s: {what}\n{logs}")
            time.sleep(0.03)

    def settle(self) -> None:
        """Have a worker of each role, let everything be processed, and compare all with the reference.

        Raises:
            Difference: something is not as it must be.
        """
        for topic in self.topics:
            self.wait(lambda: self._processed(topic), f"{topic} processed")  # noqa: B023
        self.read()
        # The lists follow the catalogue with the next event of a user, so everybody has one.
        self.wait(self._indexed, "the recommenders know all items")
        histories = {
            user: [(item, *touch) for item, touch in history.items()]
            for user, history in self.reference.histories.items()
        }
        self.publish(self.stream.touches(histories))
        self.wait(lambda: self._processed(self.topics[1]), "touches processed")
        self.read()
        self.compare()
        self._check_ends()

    def _indexed(self) -> bool:
        """Return whether all recommenders are as far as the positions of the items."""
        ends, followed = self.ends(self.topics[0]), {}
        for worker in self.of("recommender"):
            for partition in ends:
                labels = {"model": self.reference.bundle.version, "partition": str(partition)}
                offset = worker.metric("latentstream_index_offset", **labels)
                followed[worker.pid, partition] = offset == ends[partition]
        return all(followed.values())

    def _processed(self, topic: str) -> bool:
        self.ensure()
        return self.lag(topic) == 0

    def compare(self) -> None:
        """Compare all with the reference; what is done in the background may take its time.

        Raises:
            Difference: something is not as it must be.
        """
        end = time.monotonic() + _EQUAL_WITHIN_S
        while found := Stored(self.client, self.reference, self.earlier_letters).differences():
            if time.monotonic() > end:
                raise Difference(f"{len(found)} differences:\n" + "\n".join(found[:20]))
            time.sleep(0.3)

    def _check_ends(self) -> None:
        """Whoever was asked to end must do so with 0, and nobody may end with a trace."""
        for worker in list(self._leaving):
            if not worker.is_running():
                self._leaving.remove(worker)
                # Asked before it could hear that, it had nothing to finish.
                status = worker.wait(0)
                if status != 0 and not (status == -signal.SIGTERM and not worker.log()):
                    raise Difference(f"{worker.role} ended with {status} on SIGTERM:\n{worker.log()[-3000:]}")
        for worker in self.workers:
            # Libraries log traces of what they survive, inside of a line.
            if "\nTraceback" in worker.log():
                raise Difference(f"{worker.role} ended with a trace:\n{worker.log()[-3000:]}")
        self.workers = [worker for worker in self.workers if worker.is_running()]

    def read(self) -> None:
        """Let the reference read what the topics hold beyond what it has read."""
        for records in self.new_records():
            self.reference.read(records)

    def new_records(self) -> Iterator[list[ConsumerRecord]]:
        """Yield what the topics hold beyond what was read, some of one partition at a time."""
        for topic in self.topics:
            first, end = bounds(self._consumer, topic)
            start = {partition: max(offset, self._read.get(partition, 0)) for partition, offset in first.items()}
            yield from read_range(self._consumer, start, end)
            self._read |= end

    def keep_logs(self, directory: Path) -> Path:
        """Copy the logs of workers and servers to a directory of this system in ``directory``, and return it."""
        kept = directory / self.settings.home.name
        shutil.copytree(self.settings.home, kept, dirs_exist_ok=True)
        for log in self.servers.logs:
            shutil.copy(log, kept / f"{log.parent.name}.log")
        return kept

    def close(self) -> None:
        """End what runs, and remove the keys."""
        for worker in [*self.workers, *self._leaving]:
            worker.resume()
            worker.kill()
        self._producer.close(timeout=10)
        self._consumer.close(timeout_ms=1_000)
        names = list(self.client.scan_iter(match=f"{self.settings.redis.prefix}:*", count=1000))
        for start in range(0, len(names), 1000):
            self.client.delete(*names[start : start + 1000])
