"""A model version on disk: an immutable directory with a manifest that has the checksum of every file.

Everything is read as plain numbers: weights, arrays and JSON. No pickle, and no code from a file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from models.autoencoders import AutoencoderConfig
from models.codecs import CodecName, Int8Codec
from models.content import ContentModel
from models.drift import Snapshot
from models.errors import BundleError
from models.files import load_arrays, save_arrays
from models.interaction import InteractionConfig
from models.runtime import keras, tf
from models.space import ContentSpace, InteractionSpace, LatentSpace
from schemas.keys import VERSION_PATTERN

__all__ = ["VERSION_PATTERN", "Bundle", "BundleError", "Manifest", "ModelParts", "save_bundle"]

FORMAT_VERSION: Final = 3

MANIFEST: Final = "manifest.json"
# It has a number for each partition of both topics.
LARGEST_MANIFEST: Final = 1 << 20
_VOCABULARY: Final = "vocabulary.json"
_USER_CODEC: Final = "user_codec.npz"
_SNAPSHOT: Final = "snapshot.npz"
_UNFINISHED: Final = ".unfinished-"
_HASH_DIGITS: Final = 8
_CHUNK: Final = 1 << 20


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Size and SHA-256 of one file."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """``manifest.json``. The last digits of ``version`` are a hash of everything else in it.

    ``offsets`` say up to where the topics were read for training: topic -> partition -> next offset.
    ``trained_until`` is the time of the newest interaction trained on, in Unix seconds: what came later tests the
    model. None where there was none, and in bundles from before there was this field.
    """

    version: str
    format_version: int
    content: AutoencoderConfig | None
    codec: CodecName | None
    detects: bool
    interaction: InteractionConfig | None
    bridged: bool
    seeded: bool
    trained_items: int
    metrics: dict[str, float]
    settings: dict[str, Any]
    offsets: dict[str, dict[int, int]]
    libraries: dict[str, str]
    files: dict[str, FileEntry]
    trained_until: float | None = None


@dataclass(frozen=True, slots=True)
class ModelParts:
    """What a model consists of in memory."""

    content: ContentModel | None
    space: LatentSpace
    user_codec: Int8Codec
    snapshot: Snapshot | None = None


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model version that was loaded and verified."""

    manifest: Manifest
    content: ContentModel | None
    space: LatentSpace
    user_codec: Int8Codec
    # Models that were saved before there were any have none.
    snapshot: Snapshot | None = None

    @property
    def version(self) -> str:
        """The version's name: safe as a directory and as a part of a key."""
        return self.manifest.version

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Return the bundle in ``directory`` after verifying every file.

        Raises:
            BundleError: it is missing, damaged, incomplete, has files that do not belong to it, or another
                format.
        """
        manifest = verified_manifest(directory)
        try:
            content = None
            if manifest.content is not None and manifest.codec is not None:
                content = ContentModel.load(directory, manifest.content, manifest.codec, detects=manifest.detects)
            space = _load_space(directory, manifest)
            user_codec = Int8Codec(**load_arrays(directory / _USER_CODEC))
            snapshot = _load_snapshot(directory, content, space) if _SNAPSHOT in manifest.files else None
        # The checksums are right, so this is a bundle that another program wrote, perhaps to do harm. Whatever the
        # libraries make of it must not take down who refuses it.
        except Exception as error:
            raise BundleError(f"{directory} cannot be read as a model: {error}") from error
        return cls(manifest, content, space, user_codec, snapshot)


def save_bundle(
    root: Path,
    parts: ModelParts,
    *,
    version_prefix: str,
    metrics: Mapping[str, float],
    settings: Mapping[str, Any],
    offsets: Mapping[str, Mapping[int, int]],
    trained_until: float | None = None,
) -> Path:
    """Write a new version under ``root`` and return its directory, ``<version_prefix>-<hash>``.

    The directory appears complete or not at all. A version that is there already is left as it is.

    Raises:
        ValueError: ``version_prefix`` does not make a safe name.
        OSError: the disk is full or not writable.
    """
    if not VERSION_PATTERN.fullmatch(f"{version_prefix}-{'0' * _HASH_DIGITS}"):
        raise ValueError(f"version prefix {version_prefix!r} may only have letters, digits, '-' and '_'")
    root.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=root, prefix=_UNFINISHED))
    try:
        manifest = _write_files(work, parts, metrics, settings, offsets, trained_until)
        version = f"{version_prefix}-{_content_hash(manifest)}"
        manifest = msgspec.structs.replace(manifest, version=version)
        (work / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
        for path in work.iterdir():
            _sync(path)
        _sync(work)
        # mkdtemp makes it private to one user; workers may run as another.
        work.chmod(0o755)
        target = root / version
        if not target.exists():
            work.rename(target)
            _sync(root)
        return target
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write_files(
    work: Path,
    parts: ModelParts,
    metrics: Mapping[str, float],
    settings: Mapping[str, Any],
    offsets: Mapping[str, Mapping[int, int]],
    trained_until: float | None,
) -> Manifest:
    """Write everything but the manifest, and return that without its version."""
    if parts.content is not None:
        parts.content.save(work)
    parts.space.save(work)
    save_arrays(work / _USER_CODEC, parts.user_codec.arrays())
    if parts.snapshot is not None:
        parts.snapshot.save(work / _SNAPSHOT)
    (work / _VOCABULARY).write_bytes(msgspec.json.encode(list(parts.space.vocabulary)))
    trained = parts.space if isinstance(parts.space, InteractionSpace) else None
    return Manifest(
        version="",
        format_version=FORMAT_VERSION,
        content=parts.content.config if parts.content else None,
        codec=parts.content.codec.name if parts.content else None,
        detects=parts.content is not None and parts.content.detector is not None,
        interaction=trained.config if trained else None,
        bridged=trained is not None and trained.bridged,
        seeded=parts.space.seeded,
        trained_items=len(parts.space.vocabulary),
        metrics=dict(metrics),
        settings=dict(settings),
        offsets={topic: dict(partitions) for topic, partitions in offsets.items()},
        # Not by the names of their packages: TensorFlow has several.
        libraries={"keras": keras.__version__, "tensorflow": tf.__version__},
        files={path.name: FileEntry(path.stat().st_size, _sha256(path)) for path in sorted(work.iterdir())},
        trained_until=trained_until,
    )


def _load_space(directory: Path, manifest: Manifest) -> LatentSpace:
    if manifest.interaction is None:
        return ContentSpace.load(directory)
    item_ids = read_vocabulary(directory)
    return InteractionSpace.load(
        directory, manifest.interaction, item_ids, bridged=manifest.bridged, seeded=manifest.seeded
    )


def read_vocabulary(directory: Path) -> list[str]:
    """Return the items that the bundle in ``directory``, which is known to be sound, was trained on."""
    return msgspec.json.decode((directory / _VOCABULARY).read_bytes(), type=list[str])


def _load_snapshot(directory: Path, content: ContentModel | None, space: LatentSpace) -> Snapshot:
    latent_dim = content.latent_dim if content is not None else 0
    return Snapshot.load(directory / _SNAPSHOT, latent_dim=latent_dim, vocabulary=len(space.vocabulary))


def verified_manifest(directory: Path) -> Manifest:
    """Return the manifest of the bundle in ``directory`` once every file is known to be what was saved.

    Raises:
        BundleError: it is missing, damaged, incomplete, has files that do not belong to it, or another format.
    """
    path = directory / MANIFEST
    if directory.is_symlink() or path.is_symlink() or not path.is_file():
        raise BundleError(f"{directory} is not a model: it has no {MANIFEST}, or one of the two is a link")
    with path.open("rb") as opened:
        manifest = parsed_manifest(opened.read(LARGEST_MANIFEST + 1), str(path))
    found = {entry.name for entry in directory.iterdir()} - {MANIFEST}
    for name in sorted(found ^ manifest.files.keys()):
        raise BundleError(f"{directory} has {'no' if name in manifest.files else 'an unknown'} file {name}")
    for name, expected in manifest.files.items():
        file = directory / name
        if file.is_symlink() or not file.is_file() or file.stat().st_size != expected.size:
            raise BundleError(f"{file} is not the {expected.size} bytes that were saved: copy the model again")
        if _sha256(file) != expected.sha256:
            raise BundleError(f"{file} is damaged, its checksum is wrong: copy the model again")
    return manifest


def parsed_manifest(content: bytes, path: str) -> Manifest:
    """Return the manifest that a file at ``path`` has, of which ``content`` is at least what a manifest may have.

    Raises:
        BundleError: it is damaged, was changed, or has another format.
    """
    if len(content) > LARGEST_MANIFEST:
        raise BundleError(f"{path} is larger than {LARGEST_MANIFEST} bytes: it is no manifest")
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{path} is damaged or of another format: {error}") from error
    if manifest.format_version != FORMAT_VERSION:
        raise BundleError(f"{path} has format {manifest.format_version}, this program reads {FORMAT_VERSION}")
    if manifest.version.rpartition("-")[2] != _content_hash(manifest):
        raise BundleError(f"{path} was changed after it was saved: copy the model again or train a new one")
    return manifest


def _content_hash(manifest: Manifest) -> str:
    nameless = msgspec.structs.replace(manifest, version="")
    return hashlib.sha256(
        msgspec.json.encode(msgspec.to_builtins(nameless, str_keys=True), order="sorted")
    ).hexdigest()[:_HASH_DIGITS]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    """Make a file or directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
