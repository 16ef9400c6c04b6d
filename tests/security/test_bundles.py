"""Bundles made to do harm, with checksums that are right: each is refused as a BundleError that says why."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import msgspec
import numpy as np
import pytest
import redis
from structlog.testing import capture_logs

from models import bundle as bundles
from models.bundle import Bundle, BundleError, FileEntry, Manifest
from models.registry import Registry
from schemas.keys import Keys
from schemas.settings import Settings
from workers.model_watch import Models

SECRET = b"of another directory"


@pytest.fixture
def copy(saved_model: Path, tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(SECRET)
    return Path(shutil.copytree(saved_model, tmp_path / "registry" / saved_model.name))


def signed(directory: Path, **values: object) -> Path:
    """Make a manifest with ``values`` and right checksums, as whoever wrote the files would; return the directory."""
    path = directory / "manifest.json"
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    files = {
        file.name: FileEntry(file.stat().st_size, bundles._sha256(file))
        for file in directory.iterdir()
        if file != path and file.is_file()
    }
    manifest = msgspec.structs.replace(manifest, **({"files": files} | values))
    version = f"both-{bundles._content_hash(manifest)}"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, version=version)))
    return directory.rename(directory.parent / version)


def refused(directory: Path) -> str:
    with pytest.raises(BundleError) as error:
        Registry(directory.parent).load(directory.name)
    return str(error.value)


def test_a_bundle_signed_anew_is_loaded(copy: Path) -> None:
    """So that what follows is refused for what it is."""
    assert Registry(copy.parent).load(signed(copy, trained_items=1).name).manifest.trained_items == 1


class Pickled:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self._target),)


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return written.getvalue()


def array(values: object) -> bytes:
    written = io.BytesIO()
    np.lib.format.write_array(written, np.asarray(values), allow_pickle=True)
    return written.getvalue()


def lying(shape: tuple[int, ...]) -> bytes:
    """Return an array of one number whose header says that it has ``shape``."""
    written = io.BytesIO()
    np.lib.format.write_array_header_1_0(written, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return written.getvalue() + bytes(4)


def test_a_pickle_in_place_of_an_array_is_not_unpickled(copy: Path, tmp_path: Path) -> None:
    for content in (
        zipped({"low.npy": array(np.array([Pickled(tmp_path / "pwned")], object)), "step.npy": array([1.0])}),
        pickle.dumps(Pickled(tmp_path / "pwned")),
    ):
        (copy / "user_codec.npz").write_bytes(content)
        copy = signed(copy)
        assert "user_codec.npz" in refused(copy)
        assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (zipped({"low.npy": array(np.zeros(1 << 22, np.float32))}, zipfile.ZIP_DEFLATED), "more bytes than it has"),
        (zipped({"low.npy": array(np.random.default_rng(0).bytes(64))}, zipfile.ZIP_BZIP2), "compressed"),
        (zipped({"low.npy": lying((1 << 40,))}), "not the plain array"),
        (zipped({"low.npy": lying((1 << 40, 1 << 40, 1 << 40))}), "not the plain array"),
        (zipped({"low.npy": lying((-1,))}), "not the plain array"),
        (zipped({"low.npy": b"\x93NUMPY\x01\x00\xff\xff{"}), "user_codec.npz|EOF|header"),
        (zipped({"low.npy": b""}), "cannot be read"),
        (zipped({"../../low.npy": array([1.0]), "step.npy": array([1.0])}), "unexpected keyword"),
        (zipped({}), "missing"),
        (b"", "damaged"),
        (b"PK\x03\x04", "damaged"),
    ],
)
def test_an_archive_that_is_a_bomb_or_no_archive(copy: Path, content: bytes, reason: str) -> None:
    (copy / "user_codec.npz").write_bytes(content)
    with pytest.raises(BundleError, match=reason):
        Bundle.load(signed(copy))


def rewrite_link(file: h5py.File, place: str, secret: Path) -> None:
    del file[place]
    file[place] = h5py.ExternalLink(str(secret), "/weights")


def rewrite_soft(file: h5py.File, place: str, secret: Path) -> None:  # noqa: ARG001
    del file[place]
    file[place] = h5py.SoftLink("/")


def rewrite_external(file: h5py.File, place: str, secret: Path) -> None:
    shape, dtype = file[place].shape, file[place].dtype
    del file[place]
    file.create_dataset(place, shape, dtype, external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def rewrite_virtual(file: h5py.File, place: str, secret: Path) -> None:
    shape, dtype = file[place].shape, file[place].dtype
    del file[place]
    layout = h5py.VirtualLayout(shape, dtype)
    layout[:] = h5py.VirtualSource(str(secret), "weights", shape)
    file.create_virtual_dataset(place, layout)


def rewrite_bomb(file: h5py.File, place: str, secret: Path) -> None:  # noqa: ARG001
    del file[place]
    file.create_dataset(place, (1 << 40,), "float32", chunks=(1 << 20,))


def rewrite_compressed(file: h5py.File, place: str, secret: Path) -> None:  # noqa: ARG001
    values = file[place][...]
    del file[place]
    file.create_dataset(place, data=values, compression="gzip")


def rewrite_text(file: h5py.File, place: str, secret: Path) -> None:  # noqa: ARG001
    del file[place]
    file.create_dataset(place, data=["text"])


def rewrite_cycle(file: h5py.File, place: str, secret: Path) -> None:  # noqa: ARG001
    file[f"{place.rpartition('/')[0]}/again"] = file["/"]


@pytest.mark.parametrize(
    ("rewrite", "reason"),
    [
        (rewrite_link, "leads somewhere else"),
        (rewrite_soft, "leads somewhere else"),
        (rewrite_external, "not plain numbers in this file"),
        (rewrite_virtual, "not plain numbers in this file"),
        (rewrite_bomb, "more than it has"),
        (rewrite_compressed, "not plain numbers in this file"),
        (rewrite_text, "not plain numbers in this file"),
        (rewrite_cycle, "recursion"),
    ],
)
@pytest.mark.parametrize("name", ["content_encoder.weights.h5", "user_encoder.weights.h5"])
def test_weights_that_lead_out_of_the_file_or_are_no_weights(
    copy: Path, tmp_path: Path, name: str, rewrite: Callable[[h5py.File, str, Path], None], reason: str
) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["weights"] = np.zeros(3)
    with h5py.File(copy / name, "r+") as file:
        places: list[str] = []
        file.visititems(lambda place, found: places.append(place) if isinstance(found, h5py.Dataset) else None)
        rewrite(file, places[0], tmp_path / "secret.h5")
    with pytest.raises(BundleError, match=reason):
        Bundle.load(signed(copy))


@pytest.mark.parametrize("name", ["content_encoder.weights.h5", "vocabulary.json", "space.npz", "snapshot.npz"])
def test_files_of_junk(copy: Path, name: str) -> None:
    for content in (b"", b"\x00" * 100, b"\x89HDF\r\n\x1a\n" + b"\xff" * 200, b"[" * 100_000, b'"\xff"', b"[1, 2]"):
        (copy / name).write_bytes(content)
        copy = signed(copy)
        refused(copy)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", ".", "", "a/b", "a\0b", "space.npz/../../secret"])
def test_names_in_the_manifest_that_leave_the_bundle(copy: Path, name: str) -> None:
    manifest = msgspec.json.decode((copy / "manifest.json").read_bytes(), type=Manifest)
    entry = FileEntry(len(SECRET), bundles._sha256(copy.parents[1] / "secret"))
    told = refused(signed(copy, files=manifest.files | {name: entry}))
    assert f"has no file {name}" in told


def test_links_and_pipes_in_place_of_files_and_directories(copy: Path, tmp_path: Path) -> None:
    registry = Registry(copy.parent)
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    for name in ("manifest.json", "space.npz"):
        moved = (copy / name).rename(outside / name)
        (copy / name).symlink_to(moved)
        refused(copy)
        (copy / name).unlink()
        os.mkfifo(copy / name)
        refused(copy)
        (copy / name).unlink()
        moved.rename(copy / name)
    registry.load(copy.name)
    moved = copy.rename(outside / copy.name)
    copy.symlink_to(moved, target_is_directory=True)
    assert registry.versions() == []
    refused(copy)


def test_a_manifest_that_is_a_bomb(copy: Path) -> None:
    good = json.loads((copy / "manifest.json").read_bytes())
    for content in (
        b'{"settings": ' + b"[" * 500_000,
        json.dumps(good | {"settings": {"x": "y" * (1 << 20)}}).encode(),
        b"\xff\xfe",
        b"null",
    ):
        (copy / "manifest.json").write_bytes(content)
        assert "manifest.json" in refused(copy)


def test_an_architecture_that_no_machine_could_hold(copy: Path) -> None:
    manifest = msgspec.json.decode((copy / "manifest.json").read_bytes(), type=Manifest)
    assert manifest.content is not None
    wide = msgspec.structs.replace(manifest.content, hidden=(1 << 24, 1 << 24))
    refused(signed(copy, content=wide))


@pytest.mark.parametrize("version", ["../../etc", "/etc", "..", "", "a/b", "both-0\n", "x" * 200, b"\xff\xfe", "ä"])
def test_a_pointer_in_redis_reaches_nothing_but_versions(
    copy: Path, version: str | bytes, settings: Settings, redis_client: redis.Redis
) -> None:
    (copy.parents[1] / "etc").mkdir()
    keys = Keys(settings.redis.prefix)
    redis_client.hset(keys.model, "version", version)
    registry = Registry(copy.parent)
    models, running = Models(redis_client, keys, registry), registry.load(copy.name)
    with capture_logs() as said:
        deadline = time.monotonic() + 10
        while version and not any(entry["event"] == "model_refused" for entry in said):
            assert time.monotonic() < deadline
            assert models.newer(running) is None
            time.sleep(0.01)
        assert models.newer(running) is None
