"""Batches of records as Kafka sends them (format 2, of Kafka 0.11 and later), read a batch at a time.

kafka-python reads each field of a record by a function and makes three objects of it, which is half of what a poll
costs. What this gives is the same, but that

- a batch that decompresses to more than a limit is not looked at, and comes out as one record with its bytes as they
  are, which the decoders refuse;
- the name of a header that is not UTF-8 is escaped, where kafka-python would fail at that record for ever.

The format: https://kafka.apache.org/documentation/#recordbatch
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final

import lz4.frame
import snappy
import zstandard
from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch

# Of what is decompressed at a time, so that the limit is passed by no more.
_CHUNK: Final = 1 << 20
# With lz4 a batch hardly ever becomes larger than so many times its size and so many bytes.
_USUAL_RATIO: Final = 4
_USUAL_BYTES: Final = 1 << 16
_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER: Final = 16
_LARGEST_SHIFT: Final = 63
# A header of the record that stands for a batch which was not looked at; its value is the reason.
UNREAD_HEADER: Final = "unread-batch"

Headers = list[tuple[str, bytes | None]]


class _TooLarge(Exception):  # noqa: N818
    """A batch decompresses to more than it may."""


def records_of(batch: DefaultRecordBatch, source: TopicPartition, largest: int) -> Iterator[tuple[int, ConsumerRecord]]:
    """Yield the size in bytes of each record of ``batch``, and the record; none may decompress to ``largest`` bytes.

    Raises:
        CorruptRecordError: it is not a batch.
    """
    data, unread = _content(batch, largest)
    if unread:
        yield _whole(batch, source, unread)
        return
    topic, partition = source
    epoch, first_offset, stamped = batch.leader_epoch, batch.base_offset, batch.timestamp_type
    first_time, appended = batch.first_timestamp, batch.max_timestamp
    position, header_bytes = 0, -1
    headers: Headers = []
    tail: bytes | None = None
    try:
        for _ in range(batch.records_count):
            size, start = _varint(data, position)
            # One byte of attributes, which mean nothing yet.
            time, position = _varint(data, start + 1)
            offset, position = _varint(data, position)
            key, position = _nullable(data, position)
            value, position = _nullable(data, position)
            end = start + size
            if data[position:end] != tail:
                # Most records of a producer have the same headers.
                tail = data[position:end]
                headers, position = _headers(data, position)
                header_bytes = sum(len(name.encode()) + len(content or b"") for name, content in headers) or -1
                if position != end:
                    raise CorruptRecordError(f"a record of {size} bytes ends after {position - start}")
            position = end
            yield (
                size,
                ConsumerRecord(
                    topic,
                    partition,
                    epoch,
                    first_offset + offset,
                    appended if stamped else first_time + time,
                    stamped,
                    key,
                    value,
                    headers,
                    None,
                    -1 if key is None else len(key),
                    -1 if value is None else len(value),
                    header_bytes,
                ),
            )
    except IndexError as error:
        raise CorruptRecordError(f"a batch of {batch.records_count} records ends early") from error
    if position != len(data):
        raise CorruptRecordError(f"{len(data) - position} bytes follow the last record of a batch")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Return a number of up to 64 bits, and where it ends: zigzag, seven bits a byte, the lowest first."""
    byte = data[position]
    position += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), position
    value, shift = byte & 0x7F, 7
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), position
        shift += 7
        if shift > _LARGEST_SHIFT:
            raise CorruptRecordError("a number in a record has more than 64 bits")


def _nullable(data: bytes, position: int) -> tuple[bytes | None, int]:
    """Return bytes after their length, None where that is negative, and where they end."""
    length, position = _varint(data, position)
    if length < 0:
        return None, position
    end = position + length
    if end > len(data):
        raise CorruptRecordError(f"{length} bytes are in a record of which {len(data) - position} are left")
    return data[position:end], end


def _headers(data: bytes, position: int) -> tuple[Headers, int]:
    count, position = _varint(data, position)
    if count < 0:
        raise CorruptRecordError(f"a record has {count} headers")
    headers: Headers = []
    for _ in range(count):
        name, position = _nullable(data, position)
        if name is None:
            raise CorruptRecordError("a header has no name")
        content, position = _nullable(data, position)
        headers.append((str(name, "utf-8", "backslashreplace"), content))
    return headers, position


def _content(batch: DefaultRecordBatch, largest: int) -> tuple[bytes, str]:
    """Return the records of ``batch`` as bytes, or why they are not read."""
    packed = memoryview(batch._buffer)[DefaultRecordBatch.HEADER_STRUCT.size :]
    too_large = f"decompresses to more than {largest:,}"
    if batch.compression_type not in _DECOMPRESS:
        return bytes(packed), ""
    try:
        found = _DECOMPRESS[batch.compression_type](packed, largest)
    except _TooLarge:
        return b"", too_large
    except (zlib.error, RuntimeError, zstandard.ZstdError, snappy.UncompressError) as error:
        return b"", f"cannot be decompressed: {error}"
    return (b"", too_large) if len(found) > largest else (found, "")


def _whole(batch: DefaultRecordBatch, source: TopicPartition, unread: str) -> tuple[int, ConsumerRecord]:
    """Return a record that stands for the batch, at its last offset, so that reading goes on behind it."""
    data = bytes(batch._buffer)
    reason = (
        f"the offsets {batch.base_offset} to {batch.last_offset} were not looked at: their batch has "
        f"{len(data):,} bytes and {unread}"
    )
    place = (*source, batch.leader_epoch, batch.last_offset, batch.max_timestamp, batch.timestamp_type)
    headers = [(UNREAD_HEADER, reason.encode())]
    return len(data), ConsumerRecord(*place, None, data, headers, None, -1, len(data), len(reason))


def _gunzip(data: memoryview, largest: int) -> bytes:
    return zlib.decompressobj(wbits=31).decompress(data, largest + 1)


def _unlz4(data: memoryview, largest: int) -> bytes:
    frame = lz4.frame.LZ4FrameDecompressor()
    # It sets aside as much memory as it may fill, which takes longer than to fill what most batches need.
    parts = [frame.decompress(data, max_length=min(largest + 1, _USUAL_RATIO * len(data) + _USUAL_BYTES))]
    size = len(parts[0])
    while size <= largest and not frame.eof and not frame.needs_input:
        parts.append(frame.decompress(b"", max_length=min(largest + 1 - size, _CHUNK)))
        size += len(parts[-1])
    return b"".join(parts)


def _unzstd(data: memoryview, largest: int) -> bytes:
    parts, size = [], 0
    with zstandard.ZstdDecompressor().stream_reader(bytes(data), read_across_frames=True) as reader:
        while size <= largest and (part := reader.read(_CHUNK)):
            parts.append(part)
            size += len(part)
    return b"".join(parts)


def _unsnappy(data: memoryview, largest: int) -> bytes:
    blocks = list(_snappy_blocks(bytes(data)))
    size = sum(map(_snappy_size, blocks))
    if size > largest:
        raise _TooLarge
    return b"".join(map(snappy.decompress, blocks))


def _snappy_blocks(data: bytes) -> Iterator[bytes]:
    """Yield the blocks of what Java clients write (the framing of xerial/snappy-java), or ``data`` as the only one."""
    if not data.startswith(_XERIAL):
        yield data
        return
    start = _XERIAL_HEADER
    while start < len(data):
        if start + 4 > len(data):
            raise RuntimeError("it ends in the middle of a block")
        (size,) = struct.unpack_from(">I", data, start)
        start += 4
        if start + size > len(data):
            raise RuntimeError("it ends in the middle of a block")
        yield data[start : start + size]
        start += size


def _snappy_size(block: bytes) -> int:
    """Return to how many bytes ``block`` decompresses, which it says first, as a varint of 32 bits."""
    size = 0
    for shift, byte in zip(range(0, 35, 7), block, strict=False):
        size |= (byte & 0x7F) << shift
        if byte < 0x80:
            return size
    raise RuntimeError("it does not say how large it becomes")


_DECOMPRESS: Final[dict[int, Callable[[memoryview, int], bytes]]] = {
    DefaultRecordBatch.CODEC_GZIP: _gunzip,
    DefaultRecordBatch.CODEC_LZ4: _unlz4,
    DefaultRecordBatch.CODEC_SNAPPY: _unsnappy,
    DefaultRecordBatch.CODEC_ZSTD: _unzstd,
}
