"""The registry at a URL. An object store cannot rename a directory, so the manifest is what makes a version whole.

It is written last and removed first. Workers load copies, which are verified as a whole before they have the name of
their version.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from models.bundle import LARGEST_MANIFEST, MANIFEST, VERSION_PATTERN, Manifest, parsed_manifest, verified_manifest
from models.errors import BundleError, StoreError
from models.registry import Registry
from models.store import Store

# The current model, the one before it, those of an experiment, and one more.
KEPT_COPIES: Final = 5
# A million items with retrieval vectors of 1,024 bytes, and embeddings of 1,024 float32, are some 5 GB.
LARGEST_BUNDLE: Final = 1 << 34
# Pictures and a table.
_LARGEST_REPORT: Final = 1 << 26
_FILE_PATTERN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
# No version is called so.
_COPIES: Final = ".copies"
_LOCK: Final = ".lock"
_UNFINISHED: Final = ".unfinished-copy"


class RemoteRegistry(Registry):
    """Versions at ``url``. Those that are trained here are saved under ``root``, and there are copies of others.

    Args:
        url: where fsspec has a protocol for.
        root: a directory of this registry alone, which processes may share; a temporary one where that cannot be
            written to.
    """

    def __init__(self, url: str, root: Path) -> None:
        self._store = Store(url)
        try:
            (root / _COPIES).mkdir(parents=True, exist_ok=True)
            (root / _LOCK).touch()
        except OSError:
            root = Path(tempfile.mkdtemp(prefix="latentstream-models-"))
            weakref.finalize(self, shutil.rmtree, root, ignore_errors=True)
            (root / _COPIES).mkdir()
        super().__init__(root)

    @property
    def shown(self) -> str:
        """The URL without secrets."""
        return self._store.shown

    def versions(self) -> list[str]:
        """Return all versions, sorted by name; one that is being written is there, but it is not whole."""
        return sorted(
            name
            for name, entry in self._store.entries().items()
            if VERSION_PATTERN.fullmatch(name) and entry.is_directory and not entry.is_link
        )

    def manifest(self, version: str) -> Manifest:
        """Return what a version says of itself, once all its files are known to be there with their sizes.

        What is in them is verified when they are copied.
        """
        self.path(version)
        found = self._store.entries(version)
        if not found:
            raise self._absent(version)
        where = f"{self.shown}/{version}"
        if MANIFEST not in found:
            raise BundleError(f"{where} is not whole: it is being written, or that was interrupted")
        content = self._store.read(version, MANIFEST, limit=LARGEST_MANIFEST + 1)
        manifest = parsed_manifest(content, f"{where}/{MANIFEST}")
        self._require_own_name(version, manifest)
        for name, expected in manifest.files.items():
            entry = found.get(name)
            if not _FILE_PATTERN.fullmatch(name) or name == MANIFEST or entry is None:
                raise BundleError(f"{where} has no file {name!r}")
            if entry.is_directory or entry.is_link or entry.size != expected.size:
                raise BundleError(f"{where}/{name} is not the {expected.size} bytes that were saved: save it again")
        if sum(file.size for file in manifest.files.values()) > LARGEST_BUNDLE:
            raise BundleError(f"{where} is larger than {LARGEST_BUNDLE} bytes")
        return manifest

    def size(self, version: str) -> int:
        """Return how many bytes the files of a version have."""
        self.path(version)
        return sum(entry.size or 0 for entry in self._store.entries(version).values())

    def publish(self, version: str) -> None:
        """Upload a version that was saved under ``root``, unless it is there."""
        directory = self.path(version)
        if MANIFEST in self._store.entries(version):
            return
        if not directory.is_dir():
            raise self._absent(version)
        for name in verified_manifest(directory).files:
            self._store.upload(directory / name, version, name)
        self._store.upload(directory / MANIFEST, version, MANIFEST)

    def publish_report(self, version: str) -> None:
        """Upload the report of a training that was written under ``root``."""
        path = self.report_path(version)
        self._store.upload(path, path.name)

    def report(self, version: str) -> Path | None:
        """Return a copy of the report of a training, made unless it is here; None where there is none."""
        path = self.report_path(version)
        if path.is_file():
            return path
        entry = self._store.entries().get(path.name)
        if entry is None or entry.is_directory or entry.is_link:
            return None
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.unlink(missing_ok=True)
        try:
            self._store.download(path.name, target=partial, size=_LARGEST_REPORT)
            partial.replace(path)
        except OSError as error:
            raise StoreError(f"{path.name} cannot be copied to {self.root}: {error}") from error
        finally:
            partial.unlink(missing_ok=True)
        return path

    def fetch(self, version: str) -> Manifest:
        """Copy a version here, unless it is here and whole, and return its manifest."""
        return verified_manifest(self._existing(version))

    def remove(self, version: str) -> None:
        """Remove a version, and what is here of it."""
        self.path(version)
        if not self._store.entries(version):
            raise self._absent(version)
        self._store.remove(version, MANIFEST)
        self._store.remove(version)
        report = self.report_path(version)
        self._store.remove(report.name)
        report.unlink(missing_ok=True)
        for directory in self._places(version):
            shutil.rmtree(directory, ignore_errors=True)

    def _existing(self, version: str) -> Path:
        here = self._here(version)
        if here is None:
            try:
                with self._alone():
                    # Another process may have copied it meanwhile.
                    here = self._here(version) or self._copy(version)
            except OSError as error:
                raise StoreError(f"{version} cannot be copied to {self.root}: {error}") from error
        return here

    def _places(self, version: str) -> tuple[Path, Path]:
        return self.path(version), self.root / _COPIES / version

    def _here(self, version: str) -> Path | None:
        """Return the directory of a version that is here and whole."""
        for directory in self._places(version):
            if directory.is_dir():
                try:
                    self._require_own_name(version, verified_manifest(directory))
                except BundleError:
                    continue
                return directory
        return None

    def _copy(self, version: str) -> Path:
        """Copy a version here, as a whole or not at all, and remove the oldest copies."""
        manifest = self.manifest(version)
        work, target = self.root / _UNFINISHED, self.root / _COPIES / version
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        for name, expected in manifest.files.items():
            self._store.download(version, name, target=work / name, size=expected.size)
        self._store.download(version, MANIFEST, target=work / MANIFEST, size=LARGEST_MANIFEST)
        self._require_own_name(version, verified_manifest(work))
        # One that was there is damaged.
        shutil.rmtree(target, ignore_errors=True)
        work.rename(target)
        copies = sorted(target.parent.iterdir(), key=lambda copy: copy.stat().st_mtime_ns)
        for old in copies[:-KEPT_COPIES]:
            shutil.rmtree(old, ignore_errors=True)
        return target

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the directory against other processes and threads. A process that dies lets go of it."""
        descriptor = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _absent(self, version: str) -> BundleError:
        return BundleError(f"there is no model {version} in {self.shown}: train one with `latentstream train`")
