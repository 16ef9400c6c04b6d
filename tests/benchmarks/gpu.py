"""How much faster a GPU encodes, trains and searches than the same machine without it.

    python -m tests.benchmarks.gpu [--vectors 100000,1000000] [--rows 256,1024,4096]

Each side has a process of its own; the one without the GPU is the same program with none visible. Weights, items and
vectors are random: the speed of dense products does not depend on their values. Encoding is what an encoder does with
a call of so many items of 784 values (latents, codes, and the error of what a reader decodes), searching is for 50
neighbours of 64 dimensions. Medians of three, after one that is not counted.

``--rows`` are sizes of the one batch that inference is compiled for (`models.runtime.BATCH`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

_CALLS: Final = (16, 256, 4_096, 16_384)
_QUERIES: Final = (1, 64, 1_024)
_REPETITIONS: Final = 3
_TRAINING_STEPS: Final = 50
_NEIGHBOURS: Final = 50
_DIM: Final = 64
_SIDE: Final = "LATENTSTREAM_BENCH_SIDE"


def main() -> None:
    """Measure both sides and print them, with the ratio of each figure, as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", default="100000,1000000")
    parser.add_argument("--rows", default="256,1024,4096")
    asked = parser.parse_args()
    sizes = [int(one) for one in asked.vectors.split(",")]
    rows = [int(one) for one in asked.rows.split(",")]
    if _SIDE in os.environ:
        print(json.dumps(_measure(sizes, rows)))
        return
    sides = {}
    for name, visible in (("gpu", {}), ("host", {"CUDA_VISIBLE_DEVICES": "-1"})):
        environment = {**os.environ, **visible, _SIDE: name}
        ended = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.gpu", *sys.argv[1:]],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        sides[name] = json.loads(ended.stdout)
        print(name, json.dumps(sides[name], indent=1), file=sys.stderr, flush=True)
    if not sides["gpu"]["devices"]:
        raise SystemExit("TensorFlow or FAISS sees no GPU here")
    ratios = {
        key: round(sides["gpu"][key] / value, 2)
        for key, value in sides["host"].items()
        if isinstance(value, float) and value
    }
    print(json.dumps({**sides, "ratios": ratios}, indent=1))


def _measure(sizes: list[int], rows: list[int]) -> dict[str, Any]:
    import faiss

    from models.runtime import tf

    gpus = tf.config.list_physical_devices("GPU")
    devices = [tf.config.experimental.get_device_details(one)["device_name"] for one in gpus]
    found: dict[str, Any] = {"devices": devices if faiss.get_num_gpus() else []}
    for size in sizes:
        found |= _searching(size)
    found |= _training()
    for number in rows:
        found |= _encoding(number)
    if gpus:
        found["tensorflow_mb"] = tf.config.experimental.get_memory_info("GPU:0")["peak"] >> 20
    return found


def _encoding(rows: int) -> dict[str, float]:
    import models.runtime
    from models.autoencoders import AutoencoderConfig, build_autoencoder
    from models.codecs import fit_codec
    from models.content import ContentModel
    from models.scaling import Scaling

    models.runtime.BATCH = rows  # type: ignore[misc]
    items = np.random.default_rng(0).random((max(_CALLS), 784), np.float32)
    scaling = Scaling.fit(items[:1_000], loss="squared", shared_scale=True)
    found = {}
    for name, config in (
        ("dense", AutoencoderConfig(input_shape=(784,), latent_dim=64, hidden=(512, 256))),
        ("convolutional", AutoencoderConfig(input_shape=(28, 28), latent_dim=64, hidden=(16, 32), network=_IMAGES)),
    ):
        autoencoder = build_autoencoder(config)
        latents = np.asarray(autoencoder.encoder(scaling.scaled(items[:1_000])))
        model = ContentModel(autoencoder, scaling, fit_codec("int8", latents, code_bytes=64, active=1, seed=0))
        for count in _CALLS:
            seconds = _seconds(partial(model.encode, items[:count]))
            found[f"{name}, batch {rows}: items/s, {count} a call"] = round(count / seconds, 1)
    return found


_IMAGES: Final = "convolutional"


def _training() -> dict[str, float]:
    from models.autoencoder_training import adam_with_decay, training_step
    from models.autoencoders import AutoencoderConfig, build_autoencoder

    rows = np.random.default_rng(0).random((512, 784), np.float32)
    found = {}
    for name, config in (
        ("dense", AutoencoderConfig(input_shape=(784,), latent_dim=64, hidden=(512, 256))),
        ("convolutional", AutoencoderConfig(input_shape=(28, 28), latent_dim=64, hidden=(16, 32), network=_IMAGES)),
    ):
        autoencoder = build_autoencoder(config)
        optimizer = adam_with_decay(1e-3, 10_000, 0.0, autoencoder.trainable)
        step = training_step(autoencoder, optimizer)

        def steps(step: Any = step) -> None:
            losses = [step(rows, np.array([0, one], np.int32), np.float32(0.5)) for one in range(_TRAINING_STEPS)]
            float(losses[-1].numpy())

        found[f"{name}: training rows/s"] = round(_TRAINING_STEPS * len(rows) / _seconds(steps), 1)
    return found


def _searching(size: int) -> dict[str, float]:
    from models.index import LatentIndex

    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(size, _DIM)).astype(np.float32)
    queries = rng.normal(size=(max(_QUERIES), _DIM)).astype(np.float32)
    index = LatentIndex(_DIM)
    began = time.perf_counter()
    index.upsert(np.arange(size), vectors)
    index.wait_sealed()
    found = {f"{size} vectors: sealed rows/s": round(size / (time.perf_counter() - began), 1)}
    for count in _QUERIES:
        seconds = _seconds(partial(index.search, queries[:count], _NEIGHBOURS))
        found[f"{size} vectors: queries/s, {count} a call"] = round(count / seconds, 1)
    index.close()
    return found


def _seconds(work: Callable[[], object]) -> float:
    """Return the median time of one call, of as many as take a tenth of a second."""
    work()
    began = time.perf_counter()
    work()
    calls = max(1, int(0.1 / (time.perf_counter() - began)))
    times = []
    for _ in range(_REPETITIONS):
        began = time.perf_counter()
        for _ in range(calls):
            work()
        times.append((time.perf_counter() - began) / calls)
    return statistics.median(times)


if __name__ == "__main__":
    main()
