"""``latentstream demo fashion``: 70,000 images through Kafka, their codes in Redis, and a picture of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import redis

from models.content import ContentModel
from schemas.documents import SimilarQuery
from schemas.events import MSGPACK
from schemas.records import CodeRecord
from workers import connections
from workers.datasets import fashion
from workers.demo import backlog, compression, memory, next_steps, picture
from workers.demo.picture import Example
from workers.demo.screen import Screen
from workers.lookup import current_version
from workers.query_client import QueryClient, new_request_id
from workers.registry import open_registry
from workers.sandbox import Sandbox, SandboxError
from workers.subprocesses import Workers, run_command

NAME: Final = "demo-fashion"
CHANGES: Final[dict[str, dict[str, Any]]] = {"model": {"content": {"latent_dim": 32, "epochs": 20}}}
NEIGHBOURS: Final = 4
UNUSUAL: Final = 10
PICTURE: Final = "fashion.png"


@dataclass(frozen=True)
class _Stored:
    """The codes as a reader finds them in Redis, and the model that decodes them."""

    model: ContentModel
    records: dict[str, CodeRecord]

    def decoded(self, item_ids: Sequence[str]) -> compression.Floats:
        """Return the decoded images, float32 ``[n, pixels]``."""
        codes = np.frombuffer(b"".join(self.records[item_id].code for item_id in item_ids), np.uint8)
        return self.model.reconstruct(codes.reshape(len(item_ids), -1))


def run(directory: Path | None, *, keep: bool) -> bool:
    """Tell the whole story; return whether the images come out better than with PCA of the same size.

    Raises:
        DatasetMissing, StackError, ConnectionFailed, SandboxError: what a person must repair.
    """
    screen = Screen()
    screen.title("1. Data, Kafka and Redis")
    data = fashion.load(directory)
    sandbox = Sandbox.open(NAME, screen.say, CHANGES)
    client = connections.redis_client(sandbox.settings.redis)
    _publish(screen, sandbox, data, range(data.train), "Training images to Kafka")
    screen.title("2. Training, from what is on the topic")
    run_command(sandbox, "train")
    _publish(screen, sandbox, data, range(data.train, len(data)), "Test images to Kafka")
    with Workers(sandbox, keep=keep) as workers:
        screen.title("3. Encoding")
        with screen.step("Encoder and recommender start"):
            workers.wait_ready()
        backlog.watch(screen, sandbox, workers, client, items=len(data), interactions=0)
        screen.title("4. What the codes keep")
        stored = _load(sandbox, client)
        good = _show_figures(screen, sandbox, client, data, stored)
        with screen.step("Nearest neighbours asked of the recommender, picture drawn"):
            path = _draw(sandbox, client, data, stored)
        screen.say(f"The picture is {path}")
        _show_commands(screen, sandbox, data, workers if keep else None)
    return good


def _publish(screen: Screen, sandbox: Sandbox, data: fashion.Fashion, numbers: range, text: str) -> None:
    with screen.progress(text, len(numbers)) as advance:
        sandbox.publish((data.event(number) for number in numbers), MSGPACK, advance)


def _load(sandbox: Sandbox, client: redis.Redis) -> _Stored:
    version = current_version(client, sandbox.keys)
    content = open_registry(sandbox.settings).load(version).content if version else None
    if version is None or content is None:
        raise SandboxError(f"no content model is current in {sandbox.name}: was it trained by somebody else meanwhile?")
    records = compression.stored_records(client, sandbox.keys, version, sandbox.settings.kafka.partitions)
    return _Stored(content, records)


def _show_figures(
    screen: Screen, sandbox: Sandbox, client: redis.Redis, data: fashion.Fashion, stored: _Stored
) -> bool:
    images = (data.images.reshape(len(data), -1) / np.float32(255)).astype(np.float32)
    test = range(data.train, len(data))
    size = stored.model.code_bytes
    with screen.step(f"PCA with {size} components of one byte fitted"):
        pca = compression.Pca(images[: data.train], size)
    ours = compression.mean_squared_error(images[data.train :], stored.decoded([data.item_id(n) for n in test]))
    theirs = compression.mean_squared_error(images[data.train :], pca.decoded(images[data.train :]))
    used = memory.usage(client, sandbox.keys)
    screen.table(
        ["", "bytes an image", f"mean squared error, {len(test):,} test images"],
        [
            ["pixels", f"{images.shape[1]}", "0"],
            ["autoencoder, decoded from Redis", f"{size}", f"{ours:.5f}"],
            ["PCA, int8", f"{size}", f"{theirs:.5f}"],
        ],
    )
    screen.say(
        f"In Redis, with id and error, an image takes {used['item codes'] / len(data):.0f} bytes, "
        f"its attributes {used['item attributes'] / len(data):.0f}."
    )
    return ours < theirs


def _draw(sandbox: Sandbox, client: redis.Redis, data: fashion.Fashion, stored: _Stored) -> Path:
    queries = QueryClient(client, sandbox.settings)
    # The first test image of each kind.
    first = [
        int(np.flatnonzero(data.labels[data.train :] == kind)[0]) + data.train for kind in range(len(fashion.KINDS))
    ]
    typical = []
    for number, example in zip(first, _examples(data, stored, first), strict=True):
        nearest = queries.ask(SimilarQuery(new_request_id(), data.item_id(number), NEIGHBOURS)).items
        neighbours = [(data.kind(other), _pixels(data, other)) for other in map(data.number, nearest)]
        typical.append(Example(data.kind(number), example.original, example.decoded, neighbours))
    by_error = sorted(stored.records, key=lambda item_id: (-stored.records[item_id].error, item_id))[:UNUSUAL]
    unusual = [
        Example(f"{example.note}\n{stored.records[item_id].error:.3f}", example.original, example.decoded)
        for item_id, example in zip(by_error, _examples(data, stored, [*map(data.number, by_error)]), strict=True)
    ]
    path = sandbox.directory / PICTURE
    title = (
        f"Fashion-MNIST: {len(data):,} images of {data.images[0].size} bytes as {stored.model.code_bytes} bytes each"
    )
    picture.draw(path, title, typical, unusual)
    return path


def _examples(data: fashion.Fashion, stored: _Stored, numbers: Sequence[int]) -> list[Example]:
    decoded = stored.decoded([data.item_id(number) for number in numbers]).reshape(-1, *data.images.shape[1:])
    return [
        Example(data.kind(number), _pixels(data, number), image) for number, image in zip(numbers, decoded, strict=True)
    ]


def _pixels(data: fashion.Fashion, number: int) -> compression.Floats:
    pixels: compression.Floats = data.images[number].astype(np.float32) / np.float32(255)
    return pixels


def _show_commands(screen: Screen, sandbox: Sandbox, data: fashion.Fashion, kept: Workers | None) -> None:
    item = data.item_id(data.train)
    next_steps.show(
        screen,
        sandbox,
        kept,
        reading=[(f"latentstream inspect {item}", "what is stored of the first test image")],
        asking=[(f"latentstream similar {item}", "images like it, asked of the recommender")],
    )
