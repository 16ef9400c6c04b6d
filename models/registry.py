"""The directory of model versions."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from models.bundle import VERSION_PATTERN, Bundle, Manifest, read_vocabulary, verified_manifest
from models.errors import BundleError

# No version is called so.
_DOOMED: Final = ".removed-"
_REPORT: Final = "{}-report.html"


class Registry:
    """Bundles in the subdirectories of ``root``, each called by its version."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def shown(self) -> str:
        """Where the versions are, for people."""
        return str(self.root)

    def versions(self) -> list[str]:
        """Return all versions, sorted by name; a bundle that is being written is not among them."""
        if not self.root.is_dir():
            return []
        return sorted(
            entry.name
            for entry in self.root.iterdir()
            if VERSION_PATTERN.fullmatch(entry.name) and entry.is_dir() and not entry.is_symlink()
        )

    def path(self, version: str) -> Path:
        """Return the directory of ``version``, which need not exist.

        Raises:
            BundleError: ``version`` is not a version's name; no other directory can be reached by it.
        """
        if not VERSION_PATTERN.fullmatch(version):
            raise BundleError(f"{version!r} is not the name of a model version")
        return self.root / version

    def publish(self, version: str) -> None:
        """See to it that a version that was saved under ``root`` is there for all workers: here it is.

        Raises:
            BundleError: there is no such version.
        """
        self._existing(version)

    def report_path(self, version: str) -> Path:
        """Return where the report of a training is written to, beside the version."""
        return self.path(version).with_name(_REPORT.format(version))

    def publish_report(self, version: str) -> None:
        """See to it that a report that was written is there for everybody: here it is."""

    def report(self, version: str) -> Path | None:
        """Return where the report of a training can be read; None where there is none."""
        path = self.report_path(version)
        return path if path.is_file() else None

    def fetch(self, version: str) -> Manifest:
        """Bring a version here, where it is elsewhere, so that :meth:`load` begins at once; return its manifest.

        Raises:
            BundleError: there is no such version, it is damaged, or it cannot be brought here.
        """
        return self.manifest(version)

    def load(self, version: str) -> Bundle:
        """Return a version after verifying it.

        Raises:
            BundleError: there is no such version, or it is damaged.
        """
        bundle = Bundle.load(self._existing(version))
        self._require_own_name(version, bundle.manifest)
        return bundle

    def manifest(self, version: str) -> Manifest:
        """Return what a version says of itself, after verifying it; no weights are read.

        Raises:
            BundleError: there is no such version, or it is damaged.
        """
        manifest = verified_manifest(self._existing(version))
        self._require_own_name(version, manifest)
        return manifest

    def vocabulary(self, version: str) -> list[str]:
        """Return the items that a version was trained on, without reading its weights.

        Raises:
            BundleError: there is no such version, or it is damaged.
        """
        self.fetch(version)
        return read_vocabulary(self._existing(version))

    def size(self, version: str) -> int:
        """Return how many bytes the files of a version have."""
        return sum(file.stat().st_size for file in self.path(version).iterdir() if file.is_file())

    def remove(self, version: str) -> None:
        """Remove a version and the files beside it that have its name; interrupted, it leaves none that looks whole.

        Raises:
            BundleError: there is no such version.
            OSError: it cannot be removed.
        """
        doomed = self.root / f"{_DOOMED}{version}"
        if doomed.exists():
            shutil.rmtree(doomed)
        shutil.rmtree(self._existing(version).rename(doomed))
        for beside in self.root.glob(f"{version}-*"):
            if beside.is_file():
                beside.unlink()

    def _existing(self, version: str) -> Path:
        path = self.path(version)
        if not path.is_dir():
            raise BundleError(f"there is no model {version} in {self.shown}: train one with `latentstream train`")
        return path

    def _require_own_name(self, version: str, manifest: Manifest) -> None:
        if manifest.version != version:
            raise BundleError(
                f"{self.shown}/{version} holds the model {manifest.version}: directories of models must not be renamed"
            )
