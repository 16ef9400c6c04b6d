"""More comes than a worker can take, and larger than it looks: its memory is bounded and nothing is dropped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import redis

from schemas.keys import Keys
from schemas.settings import Settings
from tests.e2e.conftest import Progress, wait_until
from tests.processes import worker_process
from workers import connections
from workers.fetching import POLL_BYTES
from workers.lookup import find_histories

USERS = 50
EVENTS = 10_000
# No worker looks at it, but has to hold it: together some 200 MB, far less on the wire.
PADDING = "x" * 20_000
BOMBS = 4
BOMB_BYTES = 70_000_000
PAUSE_MS = 100
# What was fetched and what is on its way, one batch decompressed, a poll, and as much again as Python makes of it.
BOUND_MB = 2 * (2 * connections.FETCH_BYTES + connections._LARGEST_BATCH + POLL_BYTES) // 1_000_000


def _memory_mb(pid: int, name: str) -> float:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) / 1000


@contextmanager
def _slow(client: redis.Redis) -> Iterator[None]:
    """Let Redis stop for writers again and again."""
    stop = threading.Event()

    def pause() -> None:
        while not stop.wait(2 * PAUSE_MS / 1000):
            client.client_pause(PAUSE_MS, all=False)

    thread = threading.Thread(target=pause)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        client.client_unpause()


def test_memory_is_bounded_and_all_is_processed(
    served: Settings, redis_client: redis.Redis, progress: Progress
) -> None:
    # By the number of events a single poll might hold everything.
    eager = served.model_copy(update={"events": served.events.model_copy(update={"batch": 65_536})})
    topic = eager.kafka.interactions_topic
    with worker_process(eager, "recommender") as worker:
        before = _memory_mb(worker.pid, "VmRSS")
        producer = connections.producer(eager, max_request_size=100_000_000, linger_ms=50, batch_size=1 << 20)
        sent = [producer.send(topic, key=b"bomb", value=bytes(BOMB_BYTES)) for _ in range(BOMBS)]
        with _slow(redis_client):
            for number in range(EVENTS):
                user = f"user-{number % USERS}"
                event = {"user_id": user, "item_id": str(number // USERS), "padding": PADDING}
                sent.append(producer.send(topic, key=user.encode(), value=msgspec.json.encode(event)))
            for future in sent:
                future.get(timeout=60)
            producer.close()
            lag = worker.metric("latentstream_lag_events", topic=topic)
            seconds = worker.metric("latentstream_lag_seconds", topic=topic)
            waiting = worker.metric("latentstream_waiting_bytes", topic=topic)
            wait_until(lambda: progress.done(topic), "everything processed", deadline_s=120)
        assert worker.is_running()
        assert 0 < lag < EVENTS + BOMBS
        assert seconds > 0
        assert waiting <= 2 * connections.FETCH_BYTES
        wait_until(lambda: worker.metric("latentstream_lag_events", topic=topic) == 0, "no lag", deadline_s=10)
        wait_until(
            lambda: worker.metric("latentstream_lag_seconds", topic=topic) == 0, "nothing in work", deadline_s=10
        )
        assert worker.metric("latentstream_events_total") == EVENTS + BOMBS
        assert worker.metric("latentstream_dead_letters_total", reason="EventTooLarge") == BOMBS
        grown = _memory_mb(worker.pid, "VmHWM") - before
        print(f"lag {lag:.0f} events, {seconds:.1f} s; memory {before:.0f} MB and at most {grown:.0f} MB more")
        assert grown < BOUND_MB
    keys, users = Keys(served.redis.prefix), [f"user-{number}" for number in range(USERS)]
    for history in find_histories(redis_client, keys, served.kafka.partitions, users):
        assert [touch.item_id for touch in history] == [str(number) for number in range(EVENTS // USERS)]
