"""Events on Kafka: one schema, read from JSON or MessagePack.

The ``content-type`` header says which format a value has (``application/json``, the default, or
``application/msgpack``). Every way an event can be wrong is a :class:`BadEvent`; its class name and
message become headers of the dead letter.
"""

from __future__ import annotations

import math
from typing import Annotated, Final, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

SCHEMA_VERSION: Final = 1
JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"
CONTENT_TYPE_HEADER: Final = "content-type"

MAX_ID_LENGTH: Final = 256
MAX_KIND_LENGTH: Final = 32
# A vector of this length still fits Kafka's default message limit as float32.
MAX_DIMENSION: Final = 1 << 18
# The year 2242: far enough for any real event, near enough that a time in milliseconds is refused.
MAX_TIMESTAMP: Final = float(1 << 33)
MAX_WEIGHT: Final = 1e6

# The kind of an interaction by which a user says: never recommend this item to me.
DISMISS: Final = "dismiss"

Identifier = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]
Attribute = str | int | float | bool | list[str] | None


class BadEvent(Exception):  # noqa: N818 - the name becomes a header that people read
    """An event that cannot be processed. It goes to the dead letters with its class and message."""


class MalformedEvent(BadEvent):
    """The bytes are not JSON or MessagePack at all."""


class InvalidEvent(BadEvent):
    """The format is right, a field is not: wrong type, unknown version, empty or over-long id."""


class EventTooLarge(BadEvent):
    """The value is larger than the limit in the settings."""


class WrongShape(BadEvent):
    """The features have another dimension than the model, or an image than its bytes."""


class NonFinite(BadEvent):
    """A number is NaN or infinite."""


class KeyMismatch(BadEvent):
    """The Kafka key is missing or is not the id in the event."""


class UnknownContentType(BadEvent):
    """The ``content-type`` header names a format that is not read here."""


class Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A raster image.

    ``shape`` is ``[height, width]`` or ``[height, width, channels]``; ``data`` holds uint8 pixels in
    row-major order (base64 in JSON). Pixels are scaled to [0, 1] by 1/255.
    """

    shape: Annotated[list[Annotated[int, Meta(ge=1, le=MAX_DIMENSION)]], Meta(min_length=2, max_length=3)]
    data: bytes


class ItemEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """The full state of one item; a null value under its key deletes the item.

    ``features`` is a list of numbers, or the little-endian bytes of an array (base64 in JSON) of type
    ``dtype``; uint8 features are scaled to [0, 1] by 1/255. An item has ``features``, an ``image``, or
    neither. ``attributes`` are kept as they come. An item that is not ``available`` is kept and
    encoded, and never recommended.
    """

    item_id: Identifier
    features: list[float] | bytes | None = None
    dtype: Literal["float32", "uint8"] = "float32"
    image: Image | None = None
    attributes: dict[str, Attribute] = {}
    available: bool = True
    schema_version: Literal[1] = 1


class InteractionEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One user's interaction with one item.

    A second interaction with the same item replaces the first; ``weight`` 0 retracts it. ``timestamp``
    is in Unix seconds and defaults to the time of the Kafka record. The kind ``dismiss`` says that the item is never
    to be recommended to the user; it has no other effect, whatever its weight above 0.
    """

    user_id: Identifier
    item_id: Identifier
    kind: Annotated[str, Meta(min_length=1, max_length=MAX_KIND_LENGTH)] = "view"
    weight: Annotated[float, Meta(ge=0, le=MAX_WEIGHT)] = 1.0
    timestamp: Annotated[float, Meta(ge=0, le=MAX_TIMESTAMP)] | None = None
    schema_version: Literal[1] = 1


class AnomalyEvent(msgspec.Struct, frozen=True):
    """An item that the encoder has marked: the model ``model`` finds it unlike what it was trained on.

    ``score`` is a multiple of the alarm threshold, ``error`` the mean squared reconstruction error of a feature.
    ``topic``, ``partition`` and ``offset`` say where the item's event stands and ``timestamp`` when that was
    written, in Unix seconds. Two events of one origin and one model are repetitions: each is delivered at least once.
    """

    item_id: Identifier
    score: Annotated[float, Meta(gt=1)]
    error: Annotated[float, Meta(ge=0)]
    model: str
    topic: str
    partition: Annotated[int, Meta(ge=0)]
    offset: Annotated[int, Meta(ge=0)]
    timestamp: Annotated[float, Meta(ge=0, le=MAX_TIMESTAMP)]
    schema_version: Literal[1] = 1


_Event = TypeVar("_Event", ItemEvent, InteractionEvent, AnomalyEvent)
_JSON_ITEM = msgspec.json.Decoder(ItemEvent)
_MSGPACK_ITEM = msgspec.msgpack.Decoder(ItemEvent)
_JSON_INTERACTION = msgspec.json.Decoder(InteractionEvent)
_MSGPACK_INTERACTION = msgspec.msgpack.Decoder(InteractionEvent)
_JSON_ANOMALY = msgspec.json.Decoder(AnomalyEvent)
_MSGPACK_ANOMALY = msgspec.msgpack.Decoder(AnomalyEvent)
_JSON_ENCODER = msgspec.json.Encoder()
_MSGPACK_ENCODER = msgspec.msgpack.Encoder()


def encode(event: ItemEvent | InteractionEvent | AnomalyEvent, content_type: str = JSON) -> bytes:
    """Return the wire form of ``event``; the inverse of the ``decode_*`` functions."""
    return _MSGPACK_ENCODER.encode(event) if content_type == MSGPACK else _JSON_ENCODER.encode(event)


def decode_item(value: bytes, content_type: str = JSON) -> ItemEvent:
    """Return the item event in ``value``.

    Raises:
        BadEvent: the bytes, a field, or the combination of fields is wrong. Nothing else is raised.
    """
    event = _decode(value, content_type, _JSON_ITEM, _MSGPACK_ITEM)
    if event.features is not None and event.image is not None:
        raise InvalidEvent("an item has features or an image, not both")
    for name, attribute in event.attributes.items():
        if isinstance(attribute, float) and not math.isfinite(attribute):
            raise NonFinite(f"attribute {name!r} is {attribute}")
    return event


def decode_interaction(value: bytes, content_type: str = JSON) -> InteractionEvent:
    """Return the interaction event in ``value``.

    Raises:
        BadEvent: the bytes or a field is wrong. Nothing else is raised.
    """
    # Its numbers have ranges, and NaN and infinity are outside of them.
    return _decode(value, content_type, _JSON_INTERACTION, _MSGPACK_INTERACTION)


def decode_anomaly(value: bytes, content_type: str = JSON) -> AnomalyEvent:
    """Return the anomaly event in ``value``.

    Raises:
        BadEvent: the bytes or a field is wrong. Nothing else is raised.
    """
    return _decode(value, content_type, _JSON_ANOMALY, _MSGPACK_ANOMALY)


def _decode(
    value: bytes,
    content_type: str,
    json_decoder: msgspec.json.Decoder[_Event],
    msgpack_decoder: msgspec.msgpack.Decoder[_Event],
) -> _Event:
    decoder: msgspec.json.Decoder[_Event] | msgspec.msgpack.Decoder[_Event]
    if content_type == JSON:
        decoder, format_name = json_decoder, "JSON"
    elif content_type == MSGPACK:
        decoder, format_name = msgpack_decoder, "MessagePack"
    else:
        raise UnknownContentType(f"content-type {content_type!r} is neither {JSON} nor {MSGPACK}")
    try:
        return decoder.decode(value)
    except msgspec.ValidationError as error:
        raise InvalidEvent(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedEvent(f"not {format_name}: {error}") from error


def feature_vector(event: ItemEvent) -> NDArray[np.float32] | None:
    """Return the features or pixels of ``event`` as float32 ``[dimension]``; None where it has neither.

    Raises:
        WrongShape: the bytes do not divide into numbers or do not fill the image's shape.
        NonFinite: a feature is NaN, infinite or too large for float32.
    """
    if event.image is not None:
        expected = math.prod(event.image.shape)
        if expected != len(event.image.data):
            raise WrongShape(f"an image of shape {event.image.shape} has {expected} bytes, not {len(event.image.data)}")
        return _scaled(event.image.data)
    if event.features is None:
        return None
    if isinstance(event.features, list):
        with np.errstate(over="ignore"):
            vector = np.asarray(event.features, np.float64).astype(np.float32)
    elif event.dtype == "uint8":
        vector = _scaled(event.features)
    elif len(event.features) % 4:
        raise WrongShape(f"{len(event.features)} bytes are not a whole number of float32 values")
    else:
        vector = np.frombuffer(event.features, "<f4").astype(np.float32, copy=False)
    if not vector.size:
        raise WrongShape("features are empty")
    if not np.isfinite(vector).all():
        position = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise NonFinite(f"features[{position}] is {vector[position]}")
    return vector


def _scaled(pixels: bytes) -> NDArray[np.float32]:
    return np.frombuffer(pixels, np.uint8).astype(np.float32) / np.float32(255)
