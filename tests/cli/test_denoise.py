"""``denoise``: each form of file, and what it refuses."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import redis
from PIL import Image as Pictures

from models.arrays import Bytes, Floats
from models.registry import Registry
from models.training import TrainingData, train
from schemas.events import Image, ItemEvent, decode_item, encode, feature_vector
from schemas.keys import Keys
from schemas.model_settings import ContentSettings, ModelSettings
from schemas.settings import Settings
from tests.cli.conftest import Run
from tests.models import boards
from workers.cli.errors import CommandFailed
from workers.denoising import CannotDenoise

SIDE = 8
NOISE = 0.2


def blobs(count: int, channels: int, seed: int) -> Floats:
    """Images float32 ``[count, SIDE * SIDE * channels]`` in [0, 1]: a soft spot of a random place and colour."""
    random = np.random.default_rng(seed)
    places = random.uniform(1, SIDE - 2, (count, 2, 1, 1))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    spots = np.exp(-((rows - places[:, 0]) ** 2 + (columns - places[:, 1]) ** 2) / 6)
    coloured = spots[..., None] * random.uniform(0.3, 1, (count, 1, 1, channels))
    return np.asarray(coloured.reshape(count, -1), np.float32)


def noisy(clean: Floats) -> Floats:
    noise = np.random.default_rng(9).normal(0, NOISE, clean.shape)
    return np.clip(clean + noise, 0, 1).astype(np.float32)


def saved(registry: Path, features: Floats, shape: tuple[int, ...], content: ContentSettings) -> str:
    data = TrainingData(
        [f"item-{number}" for number in range(len(features))],
        features,
        np.ones(len(features), bool),
        shape,
        published=True,
        interactions=None,
    )
    return train(data, ModelSettings(content=content), "denoiser").save(registry).name


def denoiser(registry: Path, channels: int) -> str:
    shape = (SIDE, SIDE) if channels == 1 else (SIDE, SIDE, channels)
    content = ContentSettings(
        kind="denoising", loss="binary", latent_dim=12, hidden=[64], epochs=40, corruption_amount=NOISE
    )
    return saved(registry, blobs(600, channels, seed=1), shape, content)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("denoisers")


@pytest.fixture(scope="session")
def grey(registry: Path) -> str:
    return denoiser(registry, 1)


@pytest.fixture(scope="session")
def coloured(registry: Path) -> str:
    return denoiser(registry, 3)


@pytest.fixture(scope="session")
def vanilla(registry: Path) -> str:
    return saved(registry, boards.colours(200), (6,), boards.SETTINGS.content)


@pytest.fixture(autouse=True)
def _registry(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSTREAM_MODEL__REGISTRY", str(registry))


def done(run: Run, model: str, output: Path, *files: Path) -> str:
    result = run("denoise", *map(str, files), "--output", str(output), "--model", model)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stderr


def assert_nearer(after: Floats | Bytes, before: Floats | Bytes, clean: Floats | Bytes) -> None:
    left, was = (np.mean((np.asarray(values, np.float64) - clean) ** 2) for values in (after, before))
    assert left < 0.5 * was


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_arrays_keep_their_shape_and_type(run: Run, grey: str, tmp_path: Path, dtype: str) -> None:
    clean = blobs(300, 1, seed=2).reshape(-1, SIDE, SIDE)
    white = 255 if dtype == "uint8" else 1
    given = np.rint(noisy(clean) * 255).astype(np.uint8) if dtype == "uint8" else noisy(clean).astype(dtype)
    np.save(tmp_path / "noisy.npy", given)
    assert done(run, grey, tmp_path / "clean.npy", tmp_path / "noisy.npy") == ""
    result = np.load(tmp_path / "clean.npy")
    assert (result.shape, result.dtype) == (given.shape, given.dtype)
    assert_nearer(result, given, clean * white)


@pytest.mark.parametrize("name", ["noisy.jsonl", "noisy.jsonl.gz"])
def test_item_events_keep_all_but_their_features(run: Run, grey: str, tmp_path: Path, name: str) -> None:
    clean = blobs(3, 1, seed=3)
    rows = noisy(clean)
    pixels = np.rint(rows * 255).astype(np.uint8)
    events = [
        ItemEvent("list", rows[0].tolist(), attributes={"title": "x"}, available=False),
        ItemEvent("bytes", rows[1].tobytes()),
        ItemEvent("uint8", pixels[1].tobytes(), dtype="uint8"),
        ItemEvent("nothing", attributes={"n": 1}),
        ItemEvent("image", image=Image([SIDE, SIDE, 1], pixels[2].tobytes())),
    ]
    lines = b"\n".join(map(encode, events)) + b"\n\n"
    (tmp_path / name).write_bytes(gzip.compress(lines) if name.endswith(".gz") else lines)
    done(run, grey, tmp_path / f"clean-{name}", tmp_path / name)
    written = (tmp_path / f"clean-{name}").read_bytes()
    after = [decode_item(line) for line in (gzip.decompress(written) if name.endswith(".gz") else written).splitlines()]
    assert after[3] == events[3]
    for event, before, target in zip(after, events, (0, 1, 1, None, 2), strict=True):
        assert (event.item_id, event.dtype, event.attributes) == (before.item_id, before.dtype, before.attributes)
        assert event.available == before.available
        assert type(event.features) is type(before.features)
        if target is not None:
            vectors = feature_vector(event), feature_vector(before)
            assert vectors[0] is not None
            assert vectors[1] is not None
            assert_nearer(vectors[0], vectors[1], clean[target])


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_colours_go_into_a_directory(
    run: Run, tmp_path: Path, channels: int, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue("grey" if channels == 1 else "coloured")
    shape = (SIDE, SIDE) if channels == 1 else (SIDE, SIDE, channels)
    clean = np.rint(blobs(2, channels, seed=4) * 255).reshape(-1, *shape)
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    before = np.rint(noisy((clean / 255).astype(np.float32)) * 255).astype(np.uint8)
    for path, pixels in zip(files, before, strict=True):
        Pictures.fromarray(pixels).save(path)
    done(run, model, tmp_path / "out", *files)
    for number, path in enumerate(files):
        after = np.asarray(Pictures.open(tmp_path / "out" / path.name))
        assert after.shape == shape
        assert after.dtype == np.uint8
        assert_nearer(after, before[number], clean[number])


def test_the_current_model_is_taken_and_its_kind_told(
    run_real: Run, settings: Settings, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    features = boards.colours(40)
    np.save(tmp_path / "in.npy", features)
    arguments = ("denoise", str(tmp_path / "in.npy"), "-o", str(tmp_path / "out.npy"))
    result = run_real(*arguments)
    assert isinstance(result.exception, CommandFailed)
    assert "latentstream train" in str(result.exception)
    monkeypatch.setenv("LATENTSTREAM_MODEL__REGISTRY", str(settings.registry))
    version = saved(settings.registry, boards.colours(200), (6,), boards.SETTINGS.content)
    redis_client.hset(Keys(settings.redis.prefix).model, "version", version)
    result = run_real(*arguments)
    assert result.exit_code == 0, result.exception
    assert "of the kind vanilla: it was trained without noise" in result.stderr
    content = Registry(settings.registry).load(version).content
    assert content is not None
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), content.decode(content.latents_of(features)))


def _png(path: Path, array: Bytes) -> Path:
    Pictures.fromarray(array).save(path)
    return path


def _npy(path: Path, array: object) -> Path:
    np.save(path, np.asarray(array))
    return path


def _bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _bad_files(directory: Path) -> dict[str, Path]:
    line = encode(ItemEvent("good", [0.5] * SIDE * SIDE)) + b"\n"
    dots = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), np.uint8)
    good = _png(directory / "good.png", dots).read_bytes()
    return {
        "has the shape [2, 5], the model takes [items, 8 x 8]": _npy(directory / "narrow.npy", np.zeros((2, 5))),
        "NaN or an infinite value in row 1": _npy(directory / "nan.npy", [[0.0] * 64, [np.nan] * 64]),
        "NaN or an infinite value in row 0": _npy(directory / "huge.npy", [[1e300] * 64]),
        "holds no array of numbers": _npy(directory / "text.npy", ["text"]),
        "is not an array that NumPy saved": _bytes(directory / "garbage.npy", b"garbage"),
        "has 3 x 5 pixels, the model takes 8 x 8": _png(directory / "small.png", np.zeros((3, 5), np.uint8)),
        "has 16 bits a pixel": _png(directory / "deep.png", np.zeros((SIDE, SIDE), np.uint16)),
        "garbage.png is not a PNG": _bytes(directory / "garbage.png", b"garbage"),
        "cut.png is not a PNG": _bytes(directory / "cut.png", good[:70]),
        "short.jsonl:2: WrongShape": _bytes(directory / "short.jsonl", line + b'{"item_id": "x", "features": [1]}'),
        "bad.jsonl:1: MalformedEvent": _bytes(directory / "bad.jsonl", b"\x00\n"),
        "cut.jsonl.gz:": _bytes(directory / "cut.jsonl.gz", gzip.compress(line * 9)[:-12]),
        "does not tell what is in it": _bytes(directory / "image.jpeg", b""),
    }


def test_a_bad_file_is_told_and_nothing_is_written(run: Run, grey: str, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    for told, path in _bad_files(tmp_path).items():
        result = run("denoise", str(path), "-o", str(output), "--model", grey)
        assert isinstance(result.exception, CannotDenoise), (told, result.output, result.exception)
        assert told in str(result.exception)
        assert str(path) in str(result.exception)
        assert list(output.iterdir()) == []


def test_an_unfit_model_is_told(run: Run, vanilla: str, tmp_path: Path) -> None:
    path = _png(tmp_path / "a.png", np.zeros((SIDE, SIDE), np.uint8))
    for version, told in ((vanilla, "trained on 6 features, not on images"), ("none", "there is no model none")):
        result = run("denoise", str(path), "-o", str(tmp_path / "b.png"), "--model", version)
        assert isinstance(result.exception, Exception)
        assert told in str(result.exception)


def test_a_file_is_never_written_over_itself(run: Run, grey: str, tmp_path: Path) -> None:
    path = _png(tmp_path / "a.png", np.zeros((SIDE, SIDE), np.uint8))
    for arguments in (
        [str(path), "-o", str(path)],
        [str(path), "-o", str(tmp_path)],
        [str(path), str(path), "-o", "x"],
    ):
        result = run("denoise", *arguments, "--model", grey)
        assert result.exit_code == 2, result.output
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
