"""What happens to Kafka and Redis under running workers. Each returns how many faults it was."""

from __future__ import annotations

import random
import time
from typing import Any, Final

from tests.faults.points import ROLES
from tests.faults.stored import read_letters
from tests.faults.stream import Message
from tests.faults.system import Difference, System
from workers import connections

_ITEMS: Final = 100
_INTERACTIONS: Final = 1_000


def kafka_killed(system: System, chance: random.Random) -> int:
    """The broker is killed and comes back."""
    _under_load(system, chance)
    system.servers.kill_kafka()
    time.sleep(chance.uniform(0, 2))
    system.servers.start_kafka()
    return 1


def kafka_unreachable(system: System, chance: random.Random, seconds: float) -> int:
    """The broker takes connections and answers nothing."""
    _under_load(system, chance)
    with system.servers.kafka_stopped():
        time.sleep(seconds)
    return 1


def redis_killed(system: System, chance: random.Random) -> int:
    """Redis is killed, and comes back with its append-only file."""
    _under_load(system, chance)
    system.servers.kill_redis()
    time.sleep(chance.uniform(0, 1))
    system.servers.start_redis()
    return 1


def redis_restored(system: System, chance: random.Random) -> int:
    """Redis is set back to a copy; half of the time no event follows that would tell the workers."""
    _under_load(system, chance)
    system.servers.copy_redis()
    system.load(_ITEMS, _INTERACTIONS)
    if chance.random() < 0.5:
        for topic in system.topics:
            system.wait(lambda: system.lag(topic) == 0, "processed before the restore")  # noqa: B023
    else:
        time.sleep(chance.uniform(0, 1))
    system.servers.restore_redis()
    return 1


def redis_slow(system: System, chance: random.Random, seconds: float) -> int:
    """Redis answers nobody for a while, longer than the workers wait for an answer."""
    _under_load(system, chance)
    with system.servers.redis_stopped():
        time.sleep(seconds)
    return 1


def redis_cut(system: System, chance: random.Random) -> int:
    """All connections to Redis are cut."""
    _under_load(system, chance)
    system.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    return 1


def redis_full(system: System, chance: random.Random) -> int:
    """Redis has no memory for writes, then it has."""
    _under_load(system, chance)
    used = int(system.client.info("memory")["used_memory"])
    system.client.config_set("maxmemory", used // 2)
    system.load(_ITEMS, _INTERACTIONS)
    try:
        system.wait(lambda: _logged(system, "OutOfMemory", "OOM"), "a worker says that Redis is out of memory", 30)
        time.sleep(chance.uniform(0, 1))
    finally:
        system.client.config_set("maxmemory", 0)
    return 1


def letters_impossible(system: System, chance: random.Random) -> int:
    """The topic of dead letters is gone: nothing bad is passed over, and all goes on when it is back."""
    _under_load(system, chance)
    topic, letters = system.topics[1], system.settings.kafka.dead_letters_topic
    system.wait(lambda: system.lag(topic) == 0, "processed before")
    system.earlier_letters |= read_letters(system.settings)
    admin = connections.admin(system.settings.kafka)
    try:
        admin.delete_topics([letters])
        system.wait(lambda: letters not in admin.list_topics(), "the topic of dead letters is deleted")
    finally:
        admin.close()
    system.publish([Message(topic, b"nobody", b"{")])
    time.sleep(chance.uniform(2, 15))
    lag = system.lag(topic)
    connections.ensure_topics(system.settings)
    if lag != 1:
        raise Difference("a bad event was passed over without its dead letter")
    return 1


def _under_load(system: System, chance: random.Random) -> None:
    """Have a worker of each role, and events for them."""
    system.ensure()
    for role in ROLES:
        for worker in system.of(role):
            worker.wait_ready()
    system.load(_ITEMS, _INTERACTIONS)
    time.sleep(chance.uniform(0, 0.5))


def _logged(system: System, *words: str) -> Any:
    return any(word in worker.log() for worker in system.workers[-6:] for word in words)
