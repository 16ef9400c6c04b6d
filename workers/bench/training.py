"""``latentstream bench training``: time and memory of a training step, by catalogue and batch.

Memory grows with the catalogue (tables, their gradients and Adam's moments) and with the batch; it must not grow with
their product. Each measurement has a process of its own, because what a process has had at most never falls.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Final

import msgspec
import numpy as np

from models.histories import Histories
from models.interaction import interaction_config
from models.interaction_network import InteractionNetwork
from schemas.model_settings import InteractionKind, ModelSettings
from workers.peak_memory import peak_memory_mb

_HISTORY: Final = 40
_WARM_UP: Final = 2
_STEPS: Final = 8
_FLOAT_BYTES: Final = 4


class Step(msgspec.Struct, frozen=True):
    """A step over ``batch`` users with histories of 40 items.

    ``memory_mb`` is the peak less what the process had before the network was made; ``product_mb`` is what one float32
    for each user of the batch and each item would take.
    """

    items: int
    batch: int
    seconds: float
    memory_mb: float
    product_mb: float


class Result(msgspec.Struct, frozen=True):
    """All steps of one kind."""

    kind: str
    dim: int
    steps: list[Step]


def measure(
    kind: InteractionKind, dim: int, items: Sequence[int], batches: Sequence[int], say: Callable[[str], None]
) -> Result:
    """Measure each pair of ``items`` and ``batches``.

    Raises:
        MemoryError: a step took more memory than there is.
    """
    steps = []
    for size in items:
        for batch in batches:
            say(f"{size:,} items, {batch:,} users a step")
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                try:
                    steps.append(pool.submit(_measured, kind, dim, size, batch).result())
                except BrokenProcessPool as error:
                    raise MemoryError(f"{size:,} items and {batch:,} users a step need more memory") from error
    return Result(kind, dim, steps)


def _measured(kind: InteractionKind, dim: int, items: int, batch: int) -> Step:
    rng = np.random.default_rng(0)
    histories = [_histories(rng, items, batch) for _ in range(_WARM_UP + _STEPS)]
    before = peak_memory_mb()
    config = interaction_config(ModelSettings(interaction_kind=kind, user_dim=dim))
    network = InteractionNetwork(config, items, len(histories), seed=0)
    seconds = []
    for number, whole in enumerate(histories):
        network.begin_epoch(0)
        early = whole.places < _HISTORY // 2
        began = time.perf_counter()
        network.train_step(whole.rows(early), whole.rows(~early), np.full(batch, 0.5, np.float32), number)
        seconds.append(time.perf_counter() - began)
    return Step(
        items,
        batch,
        round(float(np.median(seconds[_WARM_UP:])), 4),
        round(peak_memory_mb() - before, 1),
        round(items * batch * _FLOAT_BYTES / 2**20, 1),
    )


def _histories(rng: np.random.Generator, items: int, users: int) -> Histories:
    # Few items are in most histories, as everywhere.
    chosen = (items * rng.random(users * _HISTORY) ** 3).astype(np.int64)
    indptr = np.arange(users + 1) * _HISTORY
    return Histories(indptr, chosen, np.ones(len(chosen), np.float32), np.zeros(len(chosen)))
