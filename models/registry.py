"""The directory of model versions."""

from __future__ import annotations

from pathlib import Path

from models.bundle import VERSION_PATTERN, Bundle
from models.errors import BundleError


class Registry:
    """Bundles in the subdirectories of ``root``, each called by its version."""

    def __init__(self, root: Path) -> None:
        self.root = root

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

    def load(self, version: str) -> Bundle:
        """Return a version after verifying it.

        Raises:
            BundleError: there is no such version, or it is damaged.
        """
        path = self.path(version)
        if not path.is_dir():
            raise BundleError(f"there is no model {version} in {self.root}: train one with `latentstream train`")
        bundle = Bundle.load(path)
        if bundle.version != version:
            raise BundleError(f"{path} holds the model {bundle.version}: directories of models must not be renamed")
        return bundle
