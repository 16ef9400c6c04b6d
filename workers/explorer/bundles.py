"""What the explorer reads of a model's files itself: a few plain numbers. The rest would import TensorFlow."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import msgspec

from models.codecs import Codec, CodecName, load_codec
from models.files import load_arrays
from schemas.keys import VERSION_PATTERN
from schemas.settings import Settings
from workers.errors import Repairable

_MANIFEST: Final = "manifest.json"
_CODEC: Final = "content_codec.npz"


class NotHere(Repairable):
    """A model is not in the registry on this machine, or is damaged."""


class _Content(msgspec.Struct):
    input_shape: list[int] = []


class _File(msgspec.Struct):
    sha256: str
    size: int


class Summary(msgspec.Struct):
    """What a manifest says, as far as it is shown."""

    version: str
    content: _Content | None = None
    interaction: dict[str, Any] | None = None
    codec: CodecName | None = None
    detects: bool = False
    bridged: bool = False
    trained_items: int = 0
    trained_until: float | None = None
    metrics: dict[str, float] = {}
    offsets: dict[str, dict[str, int]] = {}
    settings: dict[str, Any] = {}
    files: dict[str, _File] = {}


_SUMMARY: Final = msgspec.json.Decoder(Summary)


def directory(settings: Settings, version: str) -> Path:
    """Return where a version lies, or would lie.

    Raises:
        NotHere: it is no version's name.
    """
    if not VERSION_PATTERN.fullmatch(version):
        raise NotHere(f"{version!r} is not the name of a model version")
    return settings.registry / version


def summary(settings: Settings, version: str) -> Summary:
    """Return what a version says of itself.

    Raises:
        NotHere: there is no such version on this machine, or what it says cannot be read.
    """
    path = directory(settings, version) / _MANIFEST
    try:
        return _SUMMARY.decode(path.read_bytes())
    except FileNotFoundError:
        raise NotHere(f"the model {version} is not in {settings.registry} on this machine") from None
    except (OSError, msgspec.DecodeError) as error:
        raise NotHere(f"the manifest of the model {version} cannot be read: {error}") from error


def input_shape(settings: Settings, version: str) -> list[int]:
    """Return the shape of an item's features; an empty one where the model is not here or has no content part."""
    try:
        content = summary(settings, version).content
    except NotHere:
        return []
    return content.input_shape if content is not None else []


def codec(settings: Settings, version: str) -> Codec | None:
    """Return the codec of a version, None where it has no content part; it is fetched where the registry is at a URL.

    Raises:
        NotHere: it is not here, or not as its manifest says.
    """
    if settings.registry_url is not None and not directory(settings, version).is_dir():
        from workers.registry import open_registry

        open_registry(settings).fetch(version)
    said = summary(settings, version)
    if said.codec is None:
        return None
    path = directory(settings, version) / _CODEC
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotHere(f"the codec of the model {version} cannot be read: {error}") from error
    wanted = said.files.get(_CODEC)
    if wanted is None or hashlib.sha256(data).hexdigest() != wanted.sha256:
        raise NotHere(f"the codec of the model {version} is damaged")
    return load_codec(said.codec, load_arrays(path))
