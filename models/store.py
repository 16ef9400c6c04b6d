"""Files at a URL that fsspec knows: what a registry needs of an object store, and its errors in words.

Nothing that a store says is believed here but the bytes and sizes themselves: whoever asks knows the names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import fsspec

from models.errors import BundleError, StoreError
from schemas.masking import masked_text, masked_url

_CHUNK: Final = 1 << 20
# Extras of this distribution, by protocol.
_EXTRAS: Final = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
# Local directories are the only ones that are not there by themselves.
_OPTIONS: Final[dict[str, dict[str, Any]]] = {"file": {"auto_mkdir": True}, "local": {"auto_mkdir": True}}
# Each library has its own, and not all are OSErrors.
_DENIALS: Final = ("Permission", "Credential", "Denied", "Forbidden", "Unauthorized", "RefreshError")


class Entry(NamedTuple):
    """What a store lists in a directory; ``size`` is None where it says none."""

    size: int | None
    is_directory: bool
    is_link: bool


class Store:
    """The directory at ``url``. Every method raises StoreError where the store does not do what it is asked."""

    def __init__(self, url: str) -> None:
        self._url = url
        protocol = url.partition("://")[0]
        with self._told("opened"):
            try:
                files, root = fsspec.core.url_to_fs(url, **_OPTIONS.get(protocol, {}))
            except ImportError as error:
                extra = _EXTRAS.get(protocol)
                package = f"install latentstream[{extra}]" if extra else str(error)
                raise StoreError(f"{self.shown}: a package for {protocol}:// is missing: {package}") from error
        self._files: Any = files
        self._root = str(root).rstrip("/")

    @property
    def shown(self) -> str:
        """The URL without secrets."""
        return masked_url(self._url)

    def entries(self, *names: str) -> dict[str, Entry]:
        """Return what there is in a directory, by the last part of its name; nothing where there is no directory."""
        with self._told("listed"):
            # What was there a while ago does not count: others write as well.
            self._files.invalidate_cache()
            try:
                found = self._files.ls(self._path(names), detail=True)
            except FileNotFoundError:
                return {}
            return {
                str(entry["name"]).rstrip("/").rpartition("/")[2]: Entry(
                    entry.get("size"), entry["type"] == "directory", bool(entry.get("islink"))
                )
                for entry in found
            }

    def read(self, *names: str, limit: int) -> bytes:
        """Return the first ``limit`` bytes of a file."""
        with self._told("read"), self._files.open(self._path(names), "rb") as file:
            content: bytes = file.read(limit)
            return content

    def download(self, *names: str, target: Path, size: int) -> None:
        """Write a file to ``target``, which does not exist.

        Raises:
            BundleError: it is longer than ``size``.
        """
        with self._told("read"), self._files.open(self._path(names), "rb") as source, target.open("xb") as file:
            left = size
            while chunk := source.read(min(_CHUNK, left + 1)):
                left -= len(chunk)
                if left < 0:
                    raise BundleError(f"{self.shown}/{'/'.join(names)} is longer than the {size} bytes that were saved")
                file.write(chunk)

    def upload(self, source: Path, *names: str) -> None:
        """Write the file ``source`` over what may be there."""
        with self._told("written"):
            self._files.put_file(str(source), self._path(names))

    def remove(self, *names: str) -> None:
        """Remove a file, or a directory with all that is in it, if it is there."""
        with self._told("removed"), suppress(FileNotFoundError):
            self._files.rm(self._path(names), recursive=True)

    def _path(self, names: tuple[str, ...]) -> str:
        return "/".join((self._root, *names))

    @contextmanager
    def _told(self, done: str) -> Iterator[None]:
        try:
            yield
        except BundleError:
            raise
        # Each protocol has a library of its own, with errors of its own.
        except Exception as error:
            kind = type(error).__name__
            if isinstance(error, FileNotFoundError):
                advice = "is LATENTSTREAM_MODEL__REGISTRY right?"
            elif any(word in kind for word in _DENIALS):
                advice = "give this process credentials that may read there, and write to train or prune"
            else:
                advice = "is the store well, and the network? Running workers go on, and try again"
            reason = masked_text(str(error), self._url).strip() or "no reason given"
            raise StoreError(f"{self.shown} cannot be {done}: {kind}: {reason}: {advice}") from error
