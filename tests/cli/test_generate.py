"""``generate``: samples of what real workers stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import redis
from PIL import Image as Pictures

from models.training import TrainingData, train
from schemas.events import Image, ItemEvent
from schemas.keys import Keys
from schemas.model_settings import ContentSettings, ModelSettings
from schemas.settings import Settings
from tests.cli.conftest import Run
from tests.cli.test_denoise import SIDE, blobs
from tests.e2e.conftest import Progress, publish, wait_until
from tests.processes import worker_process
from workers import connections
from workers.cli.errors import CommandFailed

COUNT = 300


def promote(settings: Settings, client: redis.Redis, kind: str, shape: tuple[int, ...]) -> list[str]:
    """Train on spots, make the model current, and return the ids of the items."""
    names = [f"item-{number}" for number in range(COUNT)]
    content = ContentSettings.model_validate({"kind": kind, "latent_dim": 4, "hidden": [64], "epochs": 40})
    data = TrainingData(names, blobs(COUNT, 1, 0), np.full(COUNT, True), shape, True, None)
    saved = train(data, ModelSettings(content=content), "generator").save(settings.registry)
    client.hset(Keys(settings.redis.prefix).model, "version", saved.name)
    return names


def test_samples_look_like_the_items(
    run_real: Run, settings: Settings, redis_client: redis.Redis, tmp_path: Path
) -> None:
    names = promote(settings, redis_client, "variational", (SIDE, SIDE))
    connections.ensure_topics(settings)
    progress = Progress(settings, redis_client)
    real = blobs(COUNT, 1, 0)
    pixels = np.rint(real * 255).astype(np.uint8)
    with worker_process(settings, "encoder"):
        publish(
            settings,
            [
                ItemEvent(name, image=Image([SIDE, SIDE], row.tobytes()))
                for name, row in zip(names, pixels, strict=True)
            ],
        )
        wait_until(lambda: progress.done(settings.kafka.items_topic), "all images encoded")
    progress.close()

    def made(*arguments: str) -> np.typing.NDArray[np.float32]:
        path = tmp_path / "samples.npy"
        result = run_real("generate", "-o", str(path), *arguments)
        assert result.exit_code == 0, result.output
        return np.asarray(np.load(path), np.float32)

    def distance(samples: np.typing.NDArray[np.float32]) -> float:
        gaps = np.sum((samples[:, None] - real[None]) ** 2, axis=2)
        return float(np.median(gaps.min(axis=1)))

    samples = made("--count", "50")
    assert samples.shape == (50, SIDE * SIDE)
    assert len(np.unique(samples, axis=0)) == 50
    random = np.random.default_rng(0)
    shuffled = np.stack([random.permutation(row) for row in samples])
    assert distance(samples) < 0.3 * distance(shuffled)
    assert made("--count", "50").tobytes() == samples.tobytes()
    assert made("--count", "50", "--seed", "1").tobytes() != samples.tobytes()

    close, far = (made("--near", names[7], "--spread", spread, "--count", "20") for spread in ("0.1", "1"))
    assert np.mean((close - real[7]) ** 2) < 0.5 * np.mean((far - real[7]) ** 2)

    way = made("--between", names[7], names[8], "--count", "5")
    ends = [np.sum((way[:, None] - real[None, [7, 8]]) ** 2, axis=2)]
    assert np.argmin(ends[0][0]) == 0
    assert np.argmin(ends[0][-1]) == 1

    picture = tmp_path / "samples.png"
    result = run_real("generate", "-o", str(picture), "--count", "6")
    assert result.exit_code == 0, result.output
    with Pictures.open(picture) as image:
        assert image.width > 300
    listed = run_real("generate", "-o", str(tmp_path / "x.npy"), "--count", "2").output
    assert "0: nearest item-" in listed
    refused = run_real("generate", "-o", str(picture), "--near", "nobody")
    assert isinstance(refused.exception, CommandFailed)
    assert "nobody" in str(refused.exception)


@pytest.mark.parametrize(
    ("kind", "shape", "name", "words"),
    [
        ("vanilla", (SIDE, SIDE), "x.png", "KIND=variational"),
        ("variational", (SIDE * SIDE,), "x.png", "no images"),
        ("variational", (SIDE, SIDE), "x.png", "no item has a code"),
    ],
)
def test_what_cannot_be_made_is_said(
    run_real: Run,
    settings: Settings,
    redis_client: redis.Redis,
    tmp_path: Path,
    kind: str,
    shape: tuple[int, ...],
    name: str,
    words: str,
) -> None:
    promote(settings, redis_client, kind, shape)
    result = run_real("generate", "-o", str(tmp_path / name))
    assert isinstance(result.exception, CommandFailed)
    assert words in str(result.exception)


def test_without_a_model_it_says_so(run_real: Run, tmp_path: Path) -> None:
    result = run_real("generate", "-o", str(tmp_path / "x.png"))
    assert isinstance(result.exception, CommandFailed)
    assert "no current model" in str(result.exception)
    assert run_real("generate", "-o", str(tmp_path / "x.gif")).exit_code == 2
