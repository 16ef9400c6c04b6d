"""``latentstream bench pipeline``, items: one encoder process against its stages alone and a naive loop."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, Literal

import msgspec
import numpy as np
import redis
from kafka import KafkaConsumer, TopicPartition

from models.bundle import Bundle
from models.content import ContentModel
from models.registry import Registry
from schemas.events import Attribute, Image, ItemEvent, decode_item, feature_vector
from workers import connections
from workers.anomalies import Anomalies
from workers.bench.stages import alone, polled, published, size
from workers.bench.windows import WINDOWS, Drained, Rate, Stopwatch, drained
from workers.dead_letters import DeadLetters, dead_letters_producer
from workers.encoder import Encoder
from workers.lookup import current_version
from workers.peak_memory import peak_memory_mb
from workers.sandbox import Backlog, Sandbox, SandboxError
from workers.subprocesses import Workers, run_command

Kind = Literal["vectors", "images", "texts"]
KINDS: Final[tuple[Kind, ...]] = ("vectors", "images", "texts")
DIMENSION: Final = 784
TEXT_BYTES: Final = 1000
_SIDE: Final = 28
# What the model is trained on; how good it becomes does not matter here.
_TRAINING: Final = 2000
_CHANGES: Final[dict[str, dict[str, Any]]] = {"model": {"content": {"epochs": 2}}}
# The vectors lie near a plane of so many dimensions, as real ones do.
_RANK: Final = 24
_NAIVE_S: Final = 5.0
_NAIVE_WINDOW: Final = 100

Say = Callable[[str], None]


class Stages(msgspec.Struct, frozen=True):
    """Events a second of each stage alone, on the same events in batches of the same size; texts are not encoded."""

    poll: float
    decode: float
    store: float
    encode: float | None = None


class Items(msgspec.Struct, frozen=True):
    """One kind of items. Rates are events a second, medians of windows; ``spread`` has the slowest and the fastest."""

    end_to_end: float
    stages: Stages
    naive: float
    of_slowest_stage: float
    times_naive: float
    cpu_s_per_million: float
    peak_mb: float
    spread: dict[str, tuple[float, float]]
    events: int


def measure(kind: Kind, events: int, say: Say) -> Items:
    """Publish ``events`` items, let one encoder process work through them, and time its stages and a naive loop.

    Raises:
        StackError, ConnectionFailed, SandboxError: what a person must repair.
    """
    sandbox = Sandbox.open(f"bench-pipeline-{kind}", say, _CHANGES)
    made = _events(kind)
    sandbox.publish(itertools.islice(_events("vectors" if kind == "texts" else kind), _TRAINING))
    run_command(sandbox, "train", quiet=True)
    say(f"Publishing {events:,} {kind}.")
    sandbox.publish(itertools.islice(made, events))
    bundle = _current(sandbox)
    whole, peak_mb = _end_to_end(sandbox)
    say(f"{kind}: {whole.rate.median:,.0f} events/s from end to end; now each stage alone.")
    stages = _alone(sandbox, bundle)
    naive = _naive(sandbox, bundle)
    rates = {"end_to_end": whole.rate, **stages, "naive": naive}
    slowest = min(rate.median for rate in stages.values())
    return Items(
        end_to_end=whole.rate.median,
        stages=Stages(**{name: rate.median for name, rate in stages.items()}),
        naive=naive.median,
        of_slowest_stage=round(whole.rate.median / slowest, 3),
        times_naive=round(whole.rate.median / naive.median, 1),
        cpu_s_per_million=whole.cpu_s_per_million,
        peak_mb=round(peak_mb, 1),
        spread={name: (rate.lowest, rate.highest) for name, rate in rates.items()},
        events=events,
    )


def _events(kind: Kind) -> Iterator[ItemEvent]:
    """Yield items without an end: random, and the same at every call."""
    rng = np.random.default_rng(0)
    plane = rng.standard_normal((_RANK, DIMENSION)).astype(np.float32)
    for number in itertools.count():
        name = f"item-{number}"
        if kind == "texts":
            text: dict[str, Attribute] = {"text": rng.bytes(TEXT_BYTES // 2).hex(), "language": "none"}
            yield ItemEvent(name, attributes=text)
            continue
        row = rng.standard_normal(_RANK).astype(np.float32) @ plane
        row += 0.1 * rng.standard_normal(DIMENSION).astype(np.float32)
        if kind == "vectors":
            yield ItemEvent(name, features=row.astype("<f4").tobytes())
        else:
            pixels = np.clip(128 + 16 * row, 0, 255).astype(np.uint8)
            yield ItemEvent(name, image=Image([_SIDE, _SIDE], pixels.tobytes()))


def _current(sandbox: Sandbox) -> Bundle:
    client = connections.redis_client(sandbox.settings.redis)
    version = current_version(client, sandbox.keys)
    if version is None:
        raise SandboxError("training has left no model")
    return Registry(sandbox.settings.registry).load(version)


def _end_to_end(sandbox: Sandbox) -> tuple[Drained, float]:
    """Return how fast one encoder process works through the topic, and the most memory it had, in MiB."""
    client = connections.redis_client(sandbox.settings.redis)
    backlog = Backlog(sandbox, client)
    with Workers(sandbox, ["encoder"]) as workers:
        workers.wait_ready()
        pid = workers.processes[0].pid
        whole = drained(backlog.items, pid, workers.check)
        peak_mb = peak_memory_mb(pid)
    backlog.close()
    return whole, peak_mb


def _alone(sandbox: Sandbox, bundle: Bundle) -> dict[str, Rate]:
    """Return the rate of each stage alone: those of an encoder in this process, under other keys."""
    with alone(sandbox) as (settings, client):
        producer = dead_letters_producer(settings)
        dead_letters, anomalies = DeadLetters(producer, settings), Anomalies(producer, settings)
        encoder = Encoder(settings, client, connections.consumer(settings, "encoder"), dead_letters, anomalies, bundle)
        try:
            return _stages(encoder, published(sandbox, sandbox.settings.kafka.items_topic))
        finally:
            encoder.close()
            dead_letters.close()


def _stages(encoder: Encoder, events: int) -> dict[str, Rate]:
    batches, poll = polled(encoder.source, events)
    decode, encode, store = (Stopwatch(events // (2 * WINDOWS)) for _ in range(3))
    decoded = [decode.time(size(batch), partial(encoder.decode, batch)) for batch in batches]
    encoded = [encode.time(work.total, partial(encoder.encode, work)) for work in decoded]
    for work, found in zip(decoded, encoded, strict=True):
        store.time(work.total, partial(encoder.store, work, found))
    rates = {"poll": poll, "decode": decode.rate(), "store": store.rate()}
    return rates | {"encode": encode.rate()} if any(work.rows for work in decoded) else rates


def _naive(sandbox: Sandbox, bundle: Bundle) -> Rate:
    """Return the rate of the loop that one writes first: poll one, encode one, SET one."""
    content = bundle.content
    if content is None:
        raise SandboxError("training has left no content model")
    client = connections.redis_client(sandbox.settings.redis)
    consumer: KafkaConsumer = connections.consumer(sandbox.settings, None, max_poll_records=1)
    partition = TopicPartition(sandbox.settings.kafka.items_topic, 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    try:
        deadline = time.monotonic() + _NAIVE_S
        watch = Stopwatch(_NAIVE_WINDOW)
        while time.monotonic() < deadline:
            watch.time(1, lambda: _naive_step(consumer, client, content, sandbox.name))
        return watch.rate()
    finally:
        consumer.close(timeout_ms=1000)


def _naive_step(consumer: KafkaConsumer, client: redis.Redis, content: ContentModel, prefix: str) -> None:
    for records in consumer.poll(timeout_ms=1000).values():
        for record in records:
            event = decode_item(record.value)
            vector = feature_vector(event)
            stored = record.value
            if vector is not None:
                latents = content.autoencoder.encoder(content.scaling.scaled(vector[None])).numpy()
                stored = content.codec.encode(latents)[0].tobytes()
            client.set(f"{prefix}:naive:{event.item_id}", stored)
