"""Topics and models that are not what they were: each is said clearly, has a way out, and loses nothing in silence."""

from __future__ import annotations

import random
import shutil
import time
from typing import Final

from kafka import TopicPartition

from models.registry import Registry
from tests.faults.points import ROLES, Role
from tests.faults.system import Difference, System
from tests.processes import WorkerProcess
from workers import connections

_ITEMS: Final = 80
_INTERACTIONS: Final = 600
_ENDS_WITHIN_S: Final = 60.0


def truncated(system: System, chance: random.Random) -> int:
    """Events are removed before anybody has read them, as by retention; a person accepts it."""
    system.settle()
    system.stop("recommender")
    system.load(0, _INTERACTIONS)
    topic = system.topics[1]
    partition = chance.randrange(3)
    gone = system.position(topic, partition) + chance.randint(3, 20)
    admin = connections.admin(system.settings.kafka)
    try:
        admin.delete_records({TopicPartition(topic, partition): gone})
    finally:
        admin.close()
    _expect_end(system.start("recommender"), "events were removed before they were processed", f"{topic}[{partition}]")
    system.command("positions", "accept", topic)
    return 1


def truncated_under_a_worker(system: System, chance: random.Random) -> int:
    """The same while a worker stands still that was about to read them."""
    system.settle()
    topic, partition = system.topics[1], chance.randrange(3)
    worker = system.of("recommender")[0]
    system.retire("recommender", but=worker)
    worker.pause()
    system.load(0, 20 * _INTERACTIONS)
    # What the worker has fetched already it still processes.
    records = [record for some in system.new_records() for record in some]
    first = system.ends(topic)[partition] - 1
    admin = connections.admin(system.settings.kafka)
    try:
        admin.delete_records({TopicPartition(topic, partition): first})
    finally:
        admin.close()
    worker.resume()
    _expect_end(worker, "events were removed before they were processed", f"{topic}[{partition}]")
    lost = range(system.position(topic, partition), first)
    system.reference.read(record for record in records if record.partition != partition or record.offset not in lost)
    system.command("positions", "accept", topic)
    return 1


def made_anew(system: System, chance: random.Random, role: Role) -> int:
    """The topic is deleted and made again under running workers, and gets more events than the old one had."""
    system.load(_ITEMS, _INTERACTIONS)
    system.settle()
    topic = system.topics[role == "recommender"]
    before = sum(system.ends(topic).values())
    worker = system.of(role)[0]
    system.retire(role, but=worker)
    admin = connections.admin(system.settings.kafka)
    try:
        admin.delete_topics([topic])
        system.wait(lambda: topic not in admin.list_topics(), f"{topic} is deleted")
        time.sleep(chance.uniform(0, 1))
        connections.ensure_topics(system.settings)
    finally:
        admin.close()
    system.forget(topic)
    system.load(before + _ITEMS if role == "encoder" else 0, before + _INTERACTIONS if role == "recommender" else 0)
    _expect_end(worker, "was deleted and made anew", topic)
    system.command("positions", "accept", topic)
    return 1


def partitions_added(system: System, chance: random.Random, role: Role) -> int:  # noqa: ARG001
    """A topic gets a partition: the workers end and say so; all goes on in new topics, with nothing lost."""
    system.load(_ITEMS, _INTERACTIONS)
    system.settle()
    topic = system.topics[role == "recommender"]
    worker = system.of(role)[0]
    system.retire(role, but=worker)
    admin = connections.admin(system.settings.kafka)
    try:
        admin.create_partitions({topic: 4})
    finally:
        admin.close()
    _expect_end(worker, "has 4 partitions, and what is in Redis was stored when it had 3", topic)
    _expect_end(system.start(role), "has 4 partitions, and what is in Redis was stored when it had 3", topic)
    for other in ROLES:
        system.stop(other)
    # Some of these lie in the new partition, and nobody has processed them.
    system.load(0, _INTERACTIONS)
    system.read()
    known = {user: list(history.items()) for user, history in system.reference.histories.items()}
    files = {kind: system.settings.home / f"{kind}.jsonl" for kind in ("items", "interactions")}
    for kind, path in files.items():
        system.command("export", kind, "-o", str(path))
    items = system.reference.items
    system.move(partitions=4)
    for kind, path in files.items():
        system.command("publish", kind, str(path))
    system.settle()
    if {user: list(history.items()) for user, history in system.reference.histories.items()} != known:
        raise Difference("histories are others in the new topic")
    if {name: item.event for name, item in system.reference.items.items()} != {
        name: item.event for name, item in items.items()
    }:
        raise Difference("items are others in the new topic")
    return 1


def poisoned(system: System, chance: random.Random, how: str, other: str) -> int:
    """A model is promoted that is damaged, or (``other``) for other items: it is refused, and the old one goes on."""
    system.ensure()
    registry = Registry(system.settings.registry)
    current = system.reference.bundle.version
    version = f"{how}-{chance.getrandbits(32):08x}"
    if how == "shape":
        version = other
    elif how != "missing":
        shutil.copytree(registry.path(current), registry.path(version))
        largest = max(registry.path(version).iterdir(), key=lambda path: path.stat().st_size)
        data = bytearray(largest.read_bytes())
        if how == "truncated":
            del data[len(data) // 2 :]
        else:
            data[chance.randrange(len(data))] ^= 0xFF
        largest.write_bytes(data)
    workers = [worker for role in ("encoder", "recommender") for worker in system.of(role)]
    for worker in workers:
        worker.wait_ready()
    system.client.hset(system.keys.model, "version", version)
    try:
        for worker in workers:
            system.wait(lambda: _refused(worker, version), f"the {worker.role} refuses {version}")  # noqa: B023
        system.load(_ITEMS, _INTERACTIONS)
        for topic in system.topics:
            system.wait(lambda: system.lag(topic) == 0, "processed under the old model")  # noqa: B023
    finally:
        system.client.hset(system.keys.model, "version", current)
        if how not in ("missing", "shape"):
            shutil.rmtree(registry.path(version))
    return 1


def _refused(worker: WorkerProcess, version: str) -> bool:
    return any('"model_refused"' in line and version in line for line in worker.log().splitlines())


def _expect_end(worker: WorkerProcess, *words: str) -> None:
    """The worker ends with 1 and says one line that has all ``words``."""
    status = worker.wait(_ENDS_WITHIN_S)
    said = worker.log().splitlines()
    # What is for people, not what it logs: a second encoder that meets the same says so in the log as well.
    told = [line for line in said if line.startswith("latentstream: ") and all(word in line for word in words)]
    if status != 1 or len(told) != 1 or told[0] != said[-1]:
        raise Difference(f"ended with {status}, not with a line with {words}:\n{worker.log()[-3000:]}")
