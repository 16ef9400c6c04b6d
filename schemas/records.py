"""Binary and JSON layouts of what Redis holds: code records, change-log entries, histories."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

import msgspec
import numpy as np

AVAILABLE: Final = 1
HAS_CODE: Final = 2


class CodeRecord(NamedTuple):
    """One item as stored: 3 bytes of header, then the code.

    Layout, little-endian: flags (uint8: 1 available, 2 has a code), reconstruction error (the upper
    half of a float32, so about 3 digits), code. An item without features has no code.
    """

    available: bool
    error: float
    code: bytes

    def pack(self) -> bytes:
        """Return the stored bytes."""
        flags = AVAILABLE * self.available + HAS_CODE * bool(self.code)
        return struct.pack("<BH", flags, _upper_half(self.error)) + self.code

    @classmethod
    def unpack(cls, data: bytes) -> CodeRecord:
        """Return the record in ``data``.

        Raises:
            ValueError: the bytes are too short, or flags and length contradict each other.
        """
        if len(data) < _HEADER or bool(data[0] & HAS_CODE) != (len(data) > _HEADER):
            raise ValueError(f"not a code record: {data[:8].hex()}… of {len(data)} bytes")
        flags, upper = struct.unpack_from("<BH", data)
        error = struct.unpack("<f", struct.pack("<I", upper << 16))[0]
        return cls(bool(flags & AVAILABLE), error, data[_HEADER:])


_HEADER: Final = struct.calcsize("<BH")


def _upper_half(value: float) -> int:
    """Return the upper 16 bits of a float32, rounded to nearest (bfloat16)."""
    with np.errstate(over="ignore"):
        bits = int(np.float32(value).view(np.uint32))
    return min(bits + 0x8000, 0x7F800000) >> 16


class LogEntry(msgspec.Struct, array_like=True, frozen=True):
    """One change-log entry: all changes of one batch, the last one of each item.

    The stream id is ``<next>-0``: the offset after the batch. ``base`` is the offset before it; a
    reader whose position is not ``base`` has missed a trimmed entry and must load the buckets again.
    ``records[i]`` is the code record of ``ids[i]``, empty for a deletion.
    """

    base: int
    ids: list[str]
    records: list[bytes]

    def pack(self) -> bytes:
        """Return the value of the entry's only field, ``batch`` (MessagePack)."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def unpack(cls, data: bytes) -> LogEntry:
        """Return the entry in ``data``."""
        return _LOG_DECODER.decode(data)


_LOG_DECODER = msgspec.msgpack.Decoder(LogEntry)


class Touch(msgspec.Struct, array_like=True, frozen=True):
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


def unpack_history(data: bytes | None) -> History:
    """Return the history in ``data``; an empty one for None."""
    return _HISTORY_DECODER.decode(data) if data else []
