"""The registry at a URL: in memory, in a directory by its URL, and in a store that fails and lies."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import msgspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from models import bundle as bundles
from models import remote_registry
from models.bundle import Bundle, BundleError, FileEntry, Manifest
from models.errors import StoreError
from models.remote_registry import RemoteRegistry
from models.training import Trained

SECRET = "p4ssw0rd"


class Faulty(MemoryFileSystem):  # type: ignore[misc]
    """A store in memory of its own that refuses the n-th write, or any reading, and lists what it is told to."""

    protocol = "faulty"
    store: dict[str, Any] = {}  # noqa: RUF012 - as the parent has it
    pseudo_dirs = [""]  # noqa: RUF012
    writes_left = 1_000
    error: Exception | None = None
    listing: Callable[[str, list[dict[str, Any]]], list[dict[str, Any]]] | None = None
    content: Callable[[str, bytes], bytes] | None = None

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.partition("://")[2].rpartition("@")[2].strip("/") if "://" in path else path

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> Any:
        if Faulty.error is not None:
            raise Faulty.error
        found = super().ls(path, detail, **kwargs)
        return found if Faulty.listing is None else Faulty.listing(path, found)

    def put_file(self, lpath: str, rpath: str, **kwargs: Any) -> None:
        if Faulty.writes_left == 0:
            raise PermissionError(f"no more writes to faulty://user:{SECRET}@host/models?token={SECRET}")
        Faulty.writes_left -= 1
        super().put_file(lpath, rpath, **kwargs)

    def open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        file = super().open(path, mode, **kwargs)
        if mode == "rb" and Faulty.content is not None:
            return io.BytesIO(Faulty.content(path, file.read()))
        return file


@pytest.fixture(autouse=True)
def _fresh_stores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    fsspec.register_implementation("faulty", Faulty, clobber=True)
    for name in ("error", "listing", "content"):
        monkeypatch.setattr(Faulty, name, None)
    monkeypatch.setattr(Faulty, "writes_left", 1_000)
    for kind in (MemoryFileSystem, Faulty):
        monkeypatch.setattr(kind, "store", {})
        monkeypatch.setattr(kind, "pseudo_dirs", [""])
    yield
    Faulty.clear_instance_cache()


@pytest.fixture(params=["memory", "file", "faulty"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"file://{tmp_path}/store/models" if request.param == "file" else f"{request.param}://bucket/models"


@pytest.fixture
def faulty() -> str:
    return f"faulty://user:{SECRET}@host/models"


@pytest.fixture(scope="module")
def bundle(trained_both: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_both.save(tmp_path_factory.mktemp("saved"))


def published(url: str, root: Path, bundle: Path) -> RemoteRegistry:
    """Return the registry of whoever saved ``bundle`` and uploaded it."""
    registry = RemoteRegistry(url, root)
    shutil.copytree(bundle, root / bundle.name)
    registry.publish(bundle.name)
    return registry


def test_what_one_machine_publishes_another_loads(url: str, tmp_path: Path, bundle: Path) -> None:
    writer = published(url, tmp_path / "a", bundle)
    reader = RemoteRegistry(url, tmp_path / "b")
    assert reader.versions() == [bundle.name]
    assert reader.manifest(bundle.name) == Bundle.load(bundle).manifest
    assert reader.size(bundle.name) == sum(file.stat().st_size for file in bundle.iterdir())
    assert reader.fetch(bundle.name) == Bundle.load(bundle).manifest
    loaded = reader.load(bundle.name)
    assert loaded.user_codec.arrays()["low"].tobytes() == Bundle.load(bundle).user_codec.arrays()["low"].tobytes()
    writer.remove(bundle.name)
    assert reader.versions() == []
    assert not (tmp_path / "a" / bundle.name).exists()
    # It was verified when it was copied, so the store is not asked again.
    assert reader.load(bundle.name).version == bundle.name
    with pytest.raises(BundleError, match="there is no model"):
        writer.load(bundle.name)
    with pytest.raises(BundleError, match="there is no model"):
        reader.remove(bundle.name)


def test_a_copy_that_was_damaged_is_made_anew(url: str, tmp_path: Path, bundle: Path) -> None:
    published(url, tmp_path / "a", bundle)
    reader = RemoteRegistry(url, tmp_path / "b")
    reader.load(bundle.name)
    (tmp_path / "b" / ".copies" / bundle.name / "space.npz").write_bytes(b"damaged")
    assert reader.load(bundle.name).version == bundle.name


def test_a_report_comes_and_goes_with_its_version(url: str, tmp_path: Path, bundle: Path) -> None:
    writer, reader = published(url, tmp_path / "a", bundle), RemoteRegistry(url, tmp_path / "b")
    assert reader.report(bundle.name) is None
    writer.report_path(bundle.name).write_text("figures")
    writer.publish_report(bundle.name)
    for _ in range(2):
        report = reader.report(bundle.name)
        assert report is not None
        assert report.read_text() == "figures"
    assert reader.versions() == [bundle.name]
    reader.remove(bundle.name)
    assert RemoteRegistry(url, tmp_path / "c").report(bundle.name) is None
    assert reader.report(bundle.name) is None


def test_an_empty_store_has_no_versions(url: str, tmp_path: Path, bundle: Path) -> None:
    registry = RemoteRegistry(url, tmp_path / "a")
    assert registry.versions() == []
    for ask in (registry.load, registry.manifest, registry.publish, registry.remove):
        with pytest.raises(BundleError, match="there is no model"):
            ask(bundle.name)


@pytest.mark.parametrize("version", ["", ".", "..", "../x", "a/b", "/etc", ".copies", "a\n", "x" * 101, "a\0"])
def test_nothing_but_versions_is_reached(version: str, url: str, tmp_path: Path) -> None:
    registry = RemoteRegistry(url, tmp_path / "a")
    for ask in (
        registry.load,
        registry.manifest,
        registry.publish,
        registry.remove,
        registry.size,
        registry.fetch,
        registry.report,
        registry.publish_report,
    ):
        with pytest.raises(BundleError, match="not the name"):
            ask(version)


def test_an_upload_interrupted_anywhere_is_nowhere_whole(
    faulty: str, tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = len(list(bundle.iterdir()))
    for writes in range(files):
        monkeypatch.setattr(Faulty, "writes_left", writes)
        root = tmp_path / f"a{writes}"
        registry = RemoteRegistry(faulty, root)
        shutil.copytree(bundle, root / bundle.name)
        with pytest.raises(StoreError, match="credentials") as error:
            registry.publish(bundle.name)
        assert SECRET not in str(error.value)
        with pytest.raises(BundleError, match=r"there is no model|not whole"):
            RemoteRegistry(faulty, tmp_path / "b").load(bundle.name)
        # What was saved is not lost: the next try goes on from it.
        assert Bundle.load(root / bundle.name).version == bundle.name
    monkeypatch.setattr(Faulty, "writes_left", files)
    registry.publish(bundle.name)
    assert RemoteRegistry(faulty, tmp_path / "b").load(bundle.name).version == bundle.name
    registry.publish(bundle.name)  # Would be one write too many.


def test_a_download_interrupted_anywhere_leaves_no_copy(
    faulty: str, tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(faulty, tmp_path / "a", bundle)
    registry = RemoteRegistry(faulty, tmp_path / "b")
    for name in sorted(file.name for file in bundle.iterdir()):
        for content in (lambda full: full[:-1], lambda full: full + b"x", lambda full: b"\x00" + full[1:]):
            with monkeypatch.context() as patch:
                patch.setattr(
                    Faulty,
                    "content",
                    staticmethod(lambda path, full, n=name, c=content: c(full) if path.endswith(n) else full),
                )
                with pytest.raises(BundleError):
                    registry.load(bundle.name)
            assert list((tmp_path / "b" / ".copies").iterdir()) == []
    assert registry.load(bundle.name).version == bundle.name


def listed(monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    monkeypatch.setattr(
        Faulty,
        "listing",
        staticmethod(lambda path, found: [change(dict(entry)) for entry in found]),  # noqa: ARG005
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry | {"size": 1 << 60},
        lambda entry: entry | {"size": None},
        lambda entry: entry | {"islink": True},
        lambda entry: entry | {"type": "directory"},
        lambda entry: entry | {"name": entry["name"] + "/../../../etc/passwd"},
    ],
)
def test_a_listing_that_lies_is_refused(
    change: Callable[[dict[str, Any]], dict[str, Any]],
    faulty: str,
    tmp_path: Path,
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    published(faulty, tmp_path / "a", bundle)
    registry = RemoteRegistry(faulty, tmp_path / "b")
    before = sorted(tmp_path.rglob("*"))
    listed(monkeypatch, lambda entry: entry if entry["name"].endswith("manifest.json") else change(entry))
    with pytest.raises(BundleError):
        registry.load(bundle.name)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["../../escaped", "/escaped", "a/b", ".copies", "..", "a\0b", ".hidden"])
def test_names_of_versions_that_lead_elsewhere_are_not_listed(
    name: str, faulty: str, tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(faulty, tmp_path / "a", bundle)
    listed(monkeypatch, lambda entry: entry | {"name": f"{entry['name'].rpartition('/')[0]}/{name}/"})
    # The last part alone is looked at, and it is only a name.
    assert set(RemoteRegistry(faulty, tmp_path / "b").versions()) <= {"escaped", "b"}


def signed(bundle: Path, target: Path, files: dict[str, FileEntry]) -> Path:
    """Return a copy of ``bundle`` whose manifest has ``files`` as well and a right checksum."""
    shutil.copytree(bundle, target / "x")
    path = target / "x" / "manifest.json"
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    manifest = msgspec.structs.replace(manifest, files=manifest.files | files)
    version = f"both-{bundles._content_hash(manifest)}"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, version=version)))
    return (target / "x").rename(target / version)


@pytest.mark.parametrize("name", ["../../escaped", "/etc/escaped", "..", "a/b", "manifest.json", "a\0b", ""])
def test_names_in_a_manifest_that_leave_the_copy(name: str, faulty: str, tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "saved").mkdir()
    forged = signed(bundle, tmp_path / "saved", {name: FileEntry(1, "0" * 64)})
    store, _ = fsspec.core.url_to_fs(faulty)
    for file in forged.iterdir():
        store.put_file(str(file), f"/host/models/{forged.name}/{file.name}")
    if name != "manifest.json":
        store.pipe_file(f"/host/models/{forged.name}/{name}", b"x")
    registry = RemoteRegistry(faulty, tmp_path / "b")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BundleError, match="has no file"):
        registry.load(forged.name)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_bundle_that_would_fill_the_disk_is_not_copied(
    faulty: str, tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(faulty, tmp_path / "a", bundle)
    monkeypatch.setattr(remote_registry, "LARGEST_BUNDLE", 1000)
    with pytest.raises(BundleError, match="larger than 1000"):
        RemoteRegistry(faulty, tmp_path / "b").load(bundle.name)


def test_links_in_a_store_are_refused(tmp_path: Path, bundle: Path) -> None:
    url = f"file://{tmp_path}/store"
    published(url, tmp_path / "a", bundle)
    stored = tmp_path / "store" / bundle.name
    moved = (stored / "space.npz").rename(tmp_path / "elsewhere.npz")
    (stored / "space.npz").symlink_to(moved)
    with pytest.raises(BundleError, match=r"space\.npz"):
        RemoteRegistry(url, tmp_path / "b").load(bundle.name)
    (tmp_path / "store" / "linked-version").symlink_to(bundle, target_is_directory=True)
    assert RemoteRegistry(url, tmp_path / "b").versions() == [bundle.name]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(f"403 at https://store/x?X-Amz-Signature={SECRET}&X-Amz-Credential={SECRET}"), "credentials"),
        (TimeoutError(""), "no reason given"),
        (ConnectionError(f"faulty://user:{SECRET}@host/models hangs up"), "network"),
        (KeyError(f"user:{SECRET}@host/models"), "network"),
        (ValueError(f"{SECRET} is not the password"), "network"),
    ],
)
def test_what_a_store_refuses_is_said_without_secrets(
    error: Exception, said: str, faulty: str, tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = RemoteRegistry(faulty, tmp_path / "a")
    monkeypatch.setattr(Faulty, "error", error)
    for ask in (registry.versions, lambda: registry.load(bundle.name), lambda: registry.remove(bundle.name)):
        with pytest.raises(StoreError, match=said) as told:
            ask()
        assert "@host/models" in str(told.value)
        assert SECRET not in str(told.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [("s3://bucket/models", r"latentstream\[s3\]"), ("gs://bucket", r"latentstream\[gcs\]"), ("nosuch://x", "nosuch")],
)
def test_a_package_that_is_missing_is_named(
    url: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(StoreError, match=said):
        RemoteRegistry(url, tmp_path)


def test_copies_are_temporary_where_nothing_can_be_written(tmp_path: Path, bundle: Path) -> None:
    published("memory://models", tmp_path / "a", bundle)
    (tmp_path / "file").write_text("no directory")
    registry = RemoteRegistry("memory://models", tmp_path / "file" / "b")
    assert registry.load(bundle.name).version == bundle.name
    root = registry.root
    del registry
    assert not root.exists()


def test_processes_that_share_a_directory_copy_a_version_once(
    faulty: str, tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(faulty, tmp_path / "a", bundle)
    read: list[str] = []

    def content(path: str, full: bytes) -> bytes:
        read.append(path)
        return full

    monkeypatch.setattr(Faulty, "content", staticmethod(content))
    with ThreadPoolExecutor(4) as pool:
        registries = [RemoteRegistry(faulty, tmp_path / "b") for _ in range(4)]
        places = set(pool.map(lambda registry: registry._existing(bundle.name), registries))
    assert len(places) == 1
    assert len([path for path in read if path.endswith("space.npz")]) == 1


def test_only_the_newest_copies_stay(tmp_path: Path, trained_both: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_registry, "KEPT_COPIES", 2)
    writer, reader = (RemoteRegistry("memory://models", tmp_path / name) for name in "ab")
    versions = []
    for name in ("one", "two", "three"):
        versions.append(replace(trained_both, version_prefix=name).save(writer.root).name)
        writer.publish(versions[-1])
        assert reader.load(versions[-1]).version == versions[-1]
    assert sorted(path.name for path in (tmp_path / "b" / ".copies").iterdir()) == sorted(versions[1:])
    # What was saved here is no copy.
    assert sorted(path.name for path in writer.root.iterdir() if path.name[0] != ".") == sorted(versions)
