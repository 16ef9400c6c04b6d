"""Files whose items a content model has freed of noise: arrays, item events and images, each in the form it came.

A model gives back what its continuous latents decode to; the codec takes no part.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures

from models.arrays import Bytes, Floats, float_matrix
from models.content import ContentModel
from schemas.events import BadEvent, Image, ItemEvent, WrongShape, decode_item, encode, feature_vector
from workers.errors import Repairable
from workers.publisher import EventFile, Report

ARRAYS: Final = (".npy",)
EVENTS: Final = (".jsonl", ".jsonl.gz", ".json", ".json.gz")
IMAGES: Final = (".png",)

_LONGEST_LINE: Final = 64 << 20
_EVENTS_AT_A_TIME: Final = 4096
_WHITE: Final = np.float32(255)
# What Pillow calls pixels of 8 bits with so many channels.
_MODES: Final = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


class CannotDenoise(Repairable):
    """A file cannot be read, or what is in it does not suit the model."""


def denoise_file(source: Path, target: Path, model: ContentModel) -> int:
    """Write ``source`` without its noise to ``target``, in the same form; return the number of items.

    ``target`` appears complete or not at all.

    Raises:
        CannotDenoise: see above.
    """
    write: Callable[[Path, BinaryIO, ContentModel], int]
    if source.name.endswith(ARRAYS):
        write = _array
    elif source.name.endswith(EVENTS):
        write = _events
    elif source.name.endswith(IMAGES):
        write = _image
    else:
        known = ", ".join(ARRAYS + EVENTS + IMAGES)
        raise CannotDenoise(f"{source} has a name that does not tell what is in it: it must end in one of {known}")
    unfinished = target.with_name(f".{target.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            count = write(source, file, model)
        unfinished.replace(target)
    except OSError as error:
        raise CannotDenoise(f"{source} cannot be read, or {target} not written: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def denoised(features: Floats, model: ContentModel) -> Floats:
    """Return float32 ``[n, input_dim]`` without noise, in the same units and inside the range seen in training.

    Raises:
        ValueError: the width is wrong or a value is NaN or infinite.
    """
    return model.decode(model.latents_of(float_matrix(features, model.input_dim, "features")))


def _array(source: Path, file: BinaryIO, model: ContentModel) -> int:
    try:
        values: NDArray[Any] = np.load(source, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise CannotDenoise(f"{source} is not an array that NumPy saved: {error}") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise CannotDenoise(f"{source} holds no array of numbers")
    if values.shape[1:] not in {(model.input_dim,), model.input_shape}:
        raise CannotDenoise(f"{source} has the shape {list(values.shape)}, the model takes [items, {_shape(model)}]")
    rows = values.reshape(len(values), -1)
    try:
        if values.dtype == np.uint8:
            result: NDArray[Any] = _pixels(denoised(rows.astype(np.float32) / _WHITE, model))
        else:
            kept = values.dtype if values.dtype.kind == "f" else np.float32
            with np.errstate(over="ignore"):
                result = denoised(rows.astype(np.float32), model).astype(kept)
    except ValueError as error:
        raise CannotDenoise(f"{source}: {error}") from error
    np.save(file, result.reshape(values.shape), allow_pickle=False)
    return len(values)


def _events(source: Path, file: BinaryIO, model: ContentModel) -> int:
    count = 0
    compressed = source.name.endswith(".gz")
    out = cast(BinaryIO, gzip.GzipFile("", "wb", fileobj=file, mtime=0)) if compressed else file
    waiting: list[tuple[ItemEvent, Floats | None]] = []
    for event, vector in _read_events(source, model):
        waiting.append((event, vector))
        if len(waiting) == _EVENTS_AT_A_TIME:
            count += _write_events(waiting, out, model)
            waiting.clear()
    count += _write_events(waiting, out, model)
    if compressed:
        out.close()
    return count


def _read_events(source: Path, model: ContentModel) -> Iterator[tuple[ItemEvent, Floats | None]]:
    report = Report()
    for place, line in EventFile(source, _LONGEST_LINE).lines(report):
        try:
            event = decode_item(line)
            vector = feature_vector(event)
            if vector is not None:
                _check_shape(event.image.shape if event.image else vector.shape, model)
        except BadEvent as error:
            raise CannotDenoise(f"{place}: {type(error).__name__}: {error}") from error
        yield event, vector
    for place, reason in report.examples:
        raise CannotDenoise(f"{place}: {reason}")


def _write_events(events: Sequence[tuple[ItemEvent, Floats | None]], out: BinaryIO, model: ContentModel) -> int:
    """Write events, those without features as they are; return how many had features."""
    noisy = [vector for _, vector in events if vector is not None]
    clean = iter(denoised(np.stack(noisy), model) if noisy else ())
    for event, vector in events:
        out.write(encode(event if vector is None else _with_features(event, next(clean))) + b"\n")
    return len(noisy)


def _with_features(event: ItemEvent, features: Floats) -> ItemEvent:
    """Return the event with other features, written as the old ones were."""
    if event.image is not None:
        return msgspec.structs.replace(event, image=Image(event.image.shape, _pixels(features).tobytes()))
    if isinstance(event.features, list):
        return msgspec.structs.replace(event, features=features.tolist())
    written = _pixels(features) if event.dtype == "uint8" else features.astype("<f4")
    return msgspec.structs.replace(event, features=written.tobytes())


def _image(source: Path, file: BinaryIO, model: ContentModel) -> int:
    if len(model.input_shape) == 1:
        raise CannotDenoise(f"{source}: the model was trained on {_shape(model)} features, not on images")
    height, width, channels = (*model.input_shape, 1)[:3]
    if channels not in _MODES:
        raise CannotDenoise(f"{source}: the model takes images of {channels} channels, which no PNG has")
    try:
        with Pictures.open(source, formats=["PNG"]) as image:
            if image.mode.startswith(("I", "F")):
                raise CannotDenoise(f"{source} has 16 bits a pixel: convert it to 8 bits a channel")
            if image.size != (width, height):
                raise CannotDenoise(
                    f"{source} has {image.height} x {image.width} pixels, the model takes {height} x {width}"
                )
            pixels = np.asarray(image.convert(_MODES[channels]))
    except (OSError, SyntaxError, ValueError, Pictures.DecompressionBombError) as error:
        raise CannotDenoise(f"{source} is not a PNG that can be read: {error}") from error
    clean = _pixels(denoised(pixels.reshape(1, -1).astype(np.float32) / _WHITE, model)).reshape(pixels.shape)
    Pictures.fromarray(clean).save(file, format="PNG")
    return 1


def _check_shape(given: Sequence[int], model: ContentModel) -> None:
    """Raise WrongShape unless an item fits; features may be a flat image, and one channel may be left out."""
    if len(given) > 1 and len(model.input_shape) > 1:
        fits = (*given, 1)[:3] == (*model.input_shape, 1)[:3]
    else:
        fits = math.prod(given) == model.input_dim
    if not fits:
        raise WrongShape(f"it has {' x '.join(map(str, given))} values, the model takes {_shape(model)}")


def _shape(model: ContentModel) -> str:
    return " x ".join(map(str, model.input_shape))


def _pixels(features: Floats) -> Bytes:
    """Return features in [0, 1] as uint8; they were scaled by 1/255."""
    pixels: Bytes = np.rint(np.clip(features, 0, 1) * _WHITE).astype(np.uint8)
    return pixels
