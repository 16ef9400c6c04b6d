"""Binary and JSON layouts of what Redis holds: code records, change-log entries, histories."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

# The header of a code record is one little-endian number of 24 bits: tag (the highest 4), available (1),
# score level (7), error level (12). Every byte of it costs a byte in Redis and a tenth more, because sizes
# are rounded up there (`latentstream bench footprint`).
HEADER_BYTES: Final = 3
_TAG_SHIFT: Final = 20
_AVAILABLE_SHIFT: Final = 19
_SCORE_SHIFT: Final = 12
_ERROR_LEVELS: Final = 1 << _SCORE_SHIFT
_SCORE_LEVELS: Final = 1 << (_AVAILABLE_SHIFT - _SCORE_SHIFT)
TAGS: Final = 1 << (24 - _TAG_SHIFT)

# Error level 0 is 0; level n stands for 2^((n - 2048) / 64): from 2.3e-10 to 4.3e9, within 0.55 %.
_ERRORS_PER_OCTAVE: Final = 64
_ERROR_ONE: Final = 2048
# Score level 0 is none, 1 is 0; level n stands for 2^((n - 64.5) / 7): from 1/490 to 490, within 5.1 %. A
# score of 1 lies between two levels, so that those above are anomalies and no rounding makes one.
_SCORES_PER_OCTAVE: Final = 7
_NO_SCORE: Final = 0
_ZERO_SCORE: Final = 1
_LARGEST_NORMAL: Final = 64

_ERRORS: Final = (0.0, *(2.0 ** ((n - _ERROR_ONE) / _ERRORS_PER_OCTAVE) for n in range(1, _ERROR_LEVELS)))
_SCORES: Final = (
    None,
    0.0,
    *(2.0 ** ((n - _LARGEST_NORMAL - 0.5) / _SCORES_PER_OCTAVE) for n in range(2, _SCORE_LEVELS)),
)


class WrongVersion(ValueError):  # noqa: N818 - named after what is wrong, like all errors here
    """A code record was made under another model version: its code means nothing to this one."""


def version_tag(version: str) -> int:
    """Return the tag of the records under a model version, in [0, 16).

    The key of a record names its version. The tag is for a record that is read beside its key, and catches
    15 of 16 such mistakes in a single record.
    """
    return hashlib.blake2b(version.encode(), digest_size=1).digest()[0] % TAGS


class CodeRecord(NamedTuple):
    """One item as stored: 3 bytes of header, then the code.

    ``error`` is the reconstruction error; ``score`` is the anomaly score as a multiple of the alarm
    threshold, None where the model has no detector; ``anomalous`` is whether it is above 1. Both figures are
    rounded as the constants above say, and cut off at the ends of their range. ``tag`` is the
    ``version_tag`` of the model. An item without features has no code.
    """

    available: bool
    anomalous: bool
    error: float
    score: float | None
    tag: int
    code: bytes

    def pack(self) -> bytes:
        """Return the stored bytes.

        Raises:
            ValueError: anomalous without a score, or the tag is not in [0, 16).
        """
        codes = np.frombuffer(self.code, np.uint8)[None]
        score = math.nan if self.score is None else self.score
        available, anomalous = np.array([self.available]), np.array([self.anomalous])
        return pack_codes(self.tag, available, anomalous, np.array([self.error]), np.array([score]), codes)[0]

    @classmethod
    def unpack(cls, data: bytes, tag: int | None = None) -> CodeRecord:
        """Return the record in ``data``, which must have the tag ``tag`` where that is given.

        Raises:
            WrongVersion: it has another tag.
            ValueError: the bytes are too short.
        """
        if len(data) < HEADER_BYTES:
            raise ValueError(f"not a code record: {len(data)} bytes")
        header = int.from_bytes(data[:HEADER_BYTES], "little")
        found = header >> _TAG_SHIFT
        if tag is not None and found != tag:
            raise WrongVersion(f"the code was made under another model version: its tag is {found}, not {tag}")
        level = header >> _SCORE_SHIFT & (_SCORE_LEVELS - 1)
        return cls(
            bool(header >> _AVAILABLE_SHIFT & 1),
            level > _LARGEST_NORMAL,
            _ERRORS[header & (_ERROR_LEVELS - 1)],
            _SCORES[level],
            found,
            data[HEADER_BYTES:],
        )


def pack_codes(
    tag: int,
    available: NDArray[np.bool_],
    anomalous: NDArray[np.bool_],
    errors: NDArray[np.floating],
    scores: NDArray[np.floating],
    codes: NDArray[np.uint8],
) -> list[bytes]:
    """Return the stored bytes of many records at once: rows of uint8 ``[n, code_bytes]``, the rest ``[n]``.

    A score of NaN is none. One that contradicts ``anomalous`` is moved to the nearest that does not.

    Raises:
        ValueError: anomalous without a score, or the tag is not in [0, 16).
    """
    if not 0 <= tag < TAGS:
        raise ValueError(f"tag {tag} is not in [0, {TAGS})")
    headers = tag << _TAG_SHIFT | available.astype(np.uint32) << _AVAILABLE_SHIFT
    headers |= _score_levels(scores, anomalous) << _SCORE_SHIFT | _error_levels(errors)
    width = HEADER_BYTES + codes.shape[1]
    packed = np.empty((len(codes), width), np.uint8)
    packed[:, :HEADER_BYTES] = headers.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :HEADER_BYTES]
    packed[:, HEADER_BYTES:] = codes
    data = packed.tobytes()
    return [data[start : start + width] for start in range(0, len(data), width)]


class CodeRows(NamedTuple):
    """Many code records in columns. What is not ``sound`` is unavailable and has no code."""

    sound: NDArray[np.bool_]  # [n]: the tag is right, and there is a code of the right length or none
    available: NDArray[np.bool_]  # [n]
    coded: NDArray[np.bool_]  # [n]
    packed: NDArray[np.uint8]  # [n, HEADER_BYTES + code_bytes]; zeros where there is no code, or all is not sound

    def at(self, rows: NDArray[np.int64]) -> CodeRows:
        """Return some of the rows."""
        return CodeRows(self.sound[rows], self.available[rows], self.coded[rows], self.packed[rows])


def unpack_codes(records: Sequence[bytes], tag: int, code_bytes: int) -> CodeRows:
    """Return the records of one model at once, whose codes have ``code_bytes`` bytes where there are any."""
    width = HEADER_BYTES + code_bytes
    lengths = np.fromiter(map(len, records), np.int64, len(records))
    data = np.frombuffer(b"".join(records), np.uint8)
    starts = np.cumsum(lengths) - lengths
    packed = np.zeros((len(records), width), np.uint8)
    for length in {HEADER_BYTES, width}:
        rows = np.flatnonzero(lengths == length)
        packed[rows, :length] = data[starts[rows, None] + np.arange(length)]
    tagged = packed[:, HEADER_BYTES - 1] >> (_TAG_SHIFT - 8 * (HEADER_BYTES - 1)) == tag
    sound = tagged & ((lengths == HEADER_BYTES) | (lengths == width))
    packed[~sound] = 0
    available = packed[:, HEADER_BYTES - 1] >> (_AVAILABLE_SHIFT - 8 * (HEADER_BYTES - 1)) & 1
    return CodeRows(sound, available.astype(np.bool_), sound & (lengths > HEADER_BYTES), packed)


def _error_levels(errors: NDArray[np.floating]) -> NDArray[np.uint32]:
    with np.errstate(divide="ignore", invalid="ignore"):
        levels = np.rint(_ERRORS_PER_OCTAVE * np.log2(errors, dtype=np.float64)) + _ERROR_ONE
    # What cannot be computed counts as too large.
    levels = np.nan_to_num(levels, nan=np.inf).clip(1, _ERROR_LEVELS - 1)
    return np.where(errors == 0, 0, levels).astype(np.uint32)


def _score_levels(scores: NDArray[np.floating], anomalous: NDArray[np.bool_]) -> NDArray[np.uint32]:
    none = ~(scores >= 0)
    if (none & anomalous).any():
        raise ValueError("an anomaly has a score")
    with np.errstate(divide="ignore", invalid="ignore"):
        levels = np.ceil(_SCORES_PER_OCTAVE * np.log2(scores, dtype=np.float64)) + _LARGEST_NORMAL
    low = np.where(anomalous, _LARGEST_NORMAL + 1, np.where(scores == 0, _ZERO_SCORE, _ZERO_SCORE + 1))
    high = np.where(anomalous, _SCORE_LEVELS - 1, np.where(scores == 0, _ZERO_SCORE, _LARGEST_NORMAL))
    return np.where(none, _NO_SCORE, np.clip(np.where(none, 0, levels), low, high)).astype(np.uint32)


class LogEntry(msgspec.Struct, array_like=True, frozen=True):
    """One change-log entry: all changes of one batch, the last one of each item.

    The stream id is ``<next>-0``: the offset after the batch. ``base`` is the offset before it; a
    reader whose position is not ``base`` has missed a trimmed entry and must load the buckets again.
    ``records[i]`` is the code record of ``ids[i]``, empty for a deletion; ``attributes[i]`` is its attributes as
    JSON, empty where it has none.
    """

    base: int
    ids: list[str]
    records: list[bytes]
    attributes: list[bytes]

    def pack(self) -> bytes:
        """Return the value of the entry's only field, ``batch`` (MessagePack)."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def unpack(cls, data: bytes) -> LogEntry:
        """Return the entry in ``data``.

        Raises:
            ValueError: it is none, or has another layout (an older version of this program wrote it).
        """
        try:
            entry = _LOG_DECODER.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"not an entry of a change log: {error}") from error
        if not len(entry.ids) == len(entry.records) == len(entry.attributes):
            raise ValueError("not an entry of a change log: its lists differ in length")
        return entry


_LOG_DECODER = msgspec.msgpack.Decoder(LogEntry)


class Touch(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One element of a history: ``[item_id, weight, timestamp, kind]``."""

    item_id: str
    weight: float
    timestamp: float
    kind: str


History = list[Touch]
_HISTORY_DECODER = msgspec.json.Decoder(History)


def pack_history(history: History) -> bytes:
    """Return a history as JSON, oldest interaction first."""
    return msgspec.json.encode(history)


def spliced_history(data: bytes, lost: History, won: History) -> bytes | None:
    """Return the history in ``data`` without ``lost`` at its beginning and with ``won`` at its end.

    The bytes are those of :func:`pack_history`; None where ``data`` has been written by something else, or all is lost.
    """
    head = pack_history(lost)[:-1] if lost else b"["
    if not (data.startswith(head) and data.endswith(b"]]")):
        return None
    kept = data[len(head) : -1]
    if lost:
        if not kept.startswith(b","):
            return None
        kept = kept[1:]
    return b"[" + kept + (b"," + pack_history(won)[1:] if won else b"]")


def unpack_history(data: bytes | None) -> History:
    """Return the history in ``data``; an empty one for None.

    Raises:
        ValueError: it is none.
    """
    try:
        return _HISTORY_DECODER.decode(data) if data else []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not a history: {error}") from error
