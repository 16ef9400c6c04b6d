"""The registry in a bucket of an S3 server on this machine; with the packages of the extra ``s3-tests`` only."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.processes import free_ports
from models.bundle import BundleError
from models.errors import StoreError
from models.remote_registry import RemoteRegistry
from models.training import Trained

s3fs: Any = pytest.importorskip("s3fs")
pytest.importorskip("moto.server")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Start a server, and give its address."""
    (port,) = free_ports([None])
    with subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            while "Running on" not in process.stderr.readline():
                assert process.poll() is None
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("bucket")
    return "s3://bucket/models"


# aiobotocore leaves connections to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_bucket_has_versions(bucket: str, trained_both: Trained, tmp_path: Path) -> None:
    bundle = trained_both.save(tmp_path / "saved")
    writer, reader = (RemoteRegistry(bucket, tmp_path / name) for name in "ab")
    assert reader.versions() == []
    shutil.copytree(bundle, writer.root / bundle.name)
    writer.publish(bundle.name)
    assert reader.versions() == [bundle.name]
    assert reader.size(bundle.name) == sum(file.stat().st_size for file in bundle.iterdir())
    assert reader.load(bundle.name).version == bundle.name
    reader._store.remove(bundle.name, "space.npz")
    with pytest.raises(BundleError, match=r"no file 'space\.npz'"):
        reader.manifest(bundle.name)
    reader._store.remove(bundle.name, "manifest.json")
    with pytest.raises(BundleError, match="not whole"):
        reader.manifest(bundle.name)
    writer.remove(bundle.name)
    assert reader.versions() == []
    with pytest.raises(BundleError, match="there is no model"):
        writer.load(bundle.name)
    elsewhere = RemoteRegistry("s3://nowhere/models", tmp_path / "c")
    shutil.copytree(bundle, elsewhere.root / bundle.name)
    with pytest.raises(StoreError, match="s3://nowhere/models cannot be written"):
        elsewhere.publish(bundle.name)
