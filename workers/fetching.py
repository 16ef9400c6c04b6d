"""What a consumer holds of what it has fetched is bounded, whatever producers have written.

kafka-python 3.0.12 bounds what it fetches by its compressed size and a poll by the number of records, so that a
megabyte of batches may become gigabytes, and each start of the worker would end the same way. Here

- a batch that decompresses to more than a limit is not looked at, and comes out as one record with its bytes as they
  are, which the decoders refuse;
- a poll ends at ``POLL_BYTES`` of records, however few they are;
- a partition that was paused in the middle of a response, and has gone on elsewhere since, is fetched again;
- the name of a header that is not UTF-8 is escaped, where kafka-python would fail at that record for ever.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final

import lz4.frame
import snappy
import zstandard
from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord, Fetcher
from kafka.record.default_records import DefaultRecord, DefaultRecordBatch

# One poll, which is one batch of a worker, reaches over this by no more than one record.
POLL_BYTES: Final = 32 << 20
# Of what is decompressed at a time, so that the limit is passed by no more.
_CHUNK: Final = 1 << 20
_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER: Final = 16
# A header of the record that stands for a batch which was not looked at; its value is the reason.
UNREAD_HEADER: Final = "unread-batch"


def bound(consumer: KafkaConsumer, largest_batch: int) -> None:
    """Let ``consumer`` hold one decompressed batch of at most ``largest_batch`` bytes and one poll of records."""
    fetcher = consumer._fetcher
    fetcher.__class__ = _BoundedFetcher
    fetcher.largest_batch = largest_batch


def waiting_bytes(consumer: KafkaConsumer) -> int:
    """Return how much ``consumer`` has fetched that no poll has looked at, in bytes as they came."""
    fetcher = consumer._fetcher
    # Copies, because the I/O thread adds to them.
    waiting = [*fetcher._completed_fetches.copy(), *fetcher._paused_completed_fetches.copy().values()]
    return sum(len(fetch.partition_data.records or b"") for fetch in waiting)


class _TooLarge(Exception):  # noqa: N818
    """A batch decompresses to more than it may."""


class _LenientText(bytearray):
    """Bytes whose pieces are text, whatever they are."""

    def __getitem__(self, key: Any) -> Any:
        piece = super().__getitem__(key)
        return _LenientText(piece) if isinstance(key, slice) else piece

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002
        return super().decode(encoding, "backslashreplace")


class _BoundedBatch(DefaultRecordBatch):  # type: ignore[misc]  # kafka-python has no types
    """A batch in the format of Kafka 0.11 and later, in which all are that a broker of today sends."""

    _buffer: Any
    _pos: int
    _decompressed: bool

    def __init__(self, buffer: bytes, largest: int) -> None:
        super().__init__(buffer)
        self._largest = largest
        self._unread = ""

    def _maybe_uncompress(self) -> None:
        if not self._decompressed and self.compression_type in _DECOMPRESS:
            too_large = f"decompresses to more than {self._largest:,}"
            try:
                found = _DECOMPRESS[self.compression_type](memoryview(self._buffer)[self._pos :], self._largest)
            except _TooLarge:
                self._unread = too_large
            except (zlib.error, RuntimeError, zstandard.ZstdError, snappy.UncompressError) as error:
                self._unread = f"cannot be decompressed: {error}"
            else:
                if len(found) > self._largest:
                    self._unread = too_large
                else:
                    self._buffer, self._pos = found, 0
            self._decompressed = True
        super()._maybe_uncompress()

    def __iter__(self) -> Iterator[DefaultRecord]:
        self._maybe_uncompress()
        return iter([self._whole()]) if self._unread else self

    def _whole(self) -> DefaultRecord:
        """Return a record that stands for the batch, at its last offset, so that reading goes on behind it."""
        reason = (
            f"the offsets {self.base_offset} to {self.last_offset} were not looked at: their batch has "
            f"{len(self._buffer):,} bytes and {self._unread}"
        )
        data, headers = bytes(self._buffer), [(UNREAD_HEADER, reason.encode())]
        return DefaultRecord(len(data), self.last_offset, self.max_timestamp, self.timestamp_type, None, data, headers)

    def _read_msg(self, *arguments: Any) -> DefaultRecord:
        try:
            return super()._read_msg(*arguments)
        except UnicodeDecodeError:
            # The name of a header is all that is decoded, and the position is as it was.
            strict = self._buffer
            self._buffer = _LenientText(strict)
            try:
                return super()._read_msg(*arguments)
            finally:
                self._buffer = strict


class _BoundedBatches:
    """Batches of a response, none of which becomes larger than ``largest``."""

    def __init__(self, records: Any, largest: int) -> None:
        self._records = records
        self._largest = largest

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        return _BoundedBatch(batch._buffer, self._largest) if isinstance(batch, DefaultRecordBatch) else batch


class _BoundedFetcher(Fetcher):  # type: ignore[misc]
    largest_batch: int
    _bytes_left = 0
    _next_partition_records: Any

    class PartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
        bytes_left = 0
        largest_batch = 0

        def _unpack_records(self, tp: TopicPartition, records: Any, *deserializers: Any) -> Iterator[ConsumerRecord]:
            # Only when the first record is taken; then the limit is known.
            yield from super()._unpack_records(tp, _BoundedBatches(records, self.largest_batch), *deserializers)

        def take(self, n: int | None = None) -> list[ConsumerRecord]:
            self._maybe_raise_next_inline_exception()
            records: list[ConsumerRecord] = []
            end = self.bytes_read + self.bytes_left
            try:
                for record in islice(self.record_iterator, n):
                    records.append(record)
                    if self.bytes_read >= end:
                        break
            except Exception as error:
                if not records:
                    raise
                self._next_inline_exception = error
            return records

    def fetched_records(self, max_records: int | None = None, update_offsets: bool = True) -> Any:
        self._bytes_left = POLL_BYTES
        # What was set aside when its partition was paused comes back only where nothing is here, and until then the
        # partition is not fetched. A remainder without records would keep it out for ever.
        if not self._next_partition_records:
            self._next_partition_records = None
        return super().fetched_records(max_records, update_offsets)

    def _append(
        self, drained: dict[TopicPartition, list[ConsumerRecord]], part: Any, max_records: int, update_offsets: bool
    ) -> int:
        if not part:
            return 0
        part.largest_batch, part.bytes_left = self.largest_batch, self._bytes_left
        before = part.bytes_read
        count: int = super()._append(drained, part, max_records, update_offsets)
        self._bytes_left -= part.bytes_read - before
        # As many as were asked for: then no more are.
        return max_records if self._bytes_left <= 0 else count


def _gunzip(data: memoryview, largest: int) -> bytes:
    return zlib.decompressobj(wbits=31).decompress(data, largest + 1)


def _unlz4(data: memoryview, largest: int) -> bytes:
    found: bytes = lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=largest + 1)
    return found


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
