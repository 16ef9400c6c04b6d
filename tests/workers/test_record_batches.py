"""Reading batches of records: the same as kafka-python's own reading, and an error for whatever is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from workers.record_batches import records_of

SOURCE = TopicPartition("items", 3)
LIMIT = 1 << 20
Row = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]

some_bytes = st.none() | st.binary(max_size=200)
some_headers = st.lists(st.tuples(st.text(max_size=8), some_bytes), max_size=3) | st.just([("content-type", b"x")])
some_rows = st.lists(st.tuples(st.integers(0, 2**41), some_bytes, some_bytes, some_headers), min_size=1, max_size=20)


def batch_of(rows: list[Row], compression: int = 0) -> DefaultRecordBatch:
    builder = DefaultRecordBatchBuilder(2, compression, False, -1, -1, -1, 1 << 24)
    for offset, (time, key, value, headers) in enumerate(rows):
        builder.append(offset, timestamp=time, key=key, value=value, headers=headers)
    return DefaultRecordBatch(builder.build())


def read(batch: DefaultRecordBatch) -> list[ConsumerRecord]:
    return [record for _, record in records_of(batch, SOURCE, LIMIT)]


@given(rows=some_rows, compression=st.sampled_from([0, 1, 2, 3, 4]))
def test_records_are_those_that_kafka_python_reads(rows: list[Row], compression: int) -> None:
    sized = list(records_of(batch_of(rows, compression), SOURCE, LIMIT))
    expected = list(batch_of(rows, compression))
    assert [size for size, _ in sized] == [record.size_in_bytes for record in expected]
    for (_, found), other, row in zip(sized, expected, rows, strict=True):
        assert (found.topic, found.partition, found.leader_epoch) == (*SOURCE, 0)
        assert (found.offset, found.timestamp, found.timestamp_type) == (other.offset, other.timestamp, 0)
        assert (found.key, found.value, found.headers) == (other.key, other.value, other.headers) == row[1:]
        assert found.serialized_value_size == (-1 if row[2] is None else len(row[2]))


@given(rows=some_rows, data=st.data())
def test_bytes_that_are_no_records_are_an_error(rows: list[Row], data: st.DataObject) -> None:
    """The checksum is looked at before; here is what comes of a wrong one."""
    batch = batch_of(rows)
    place = data.draw(st.integers(DefaultRecordBatch.HEADER_STRUCT.size, len(batch._buffer) - 1))
    batch._buffer[place] = data.draw(st.integers(0, 255))
    try:
        assert len(read(batch)) == len(rows)
    except CorruptRecordError:
        return


@given(rows=some_rows, cut=st.integers(1, 50))
def test_a_batch_that_ends_early_is_an_error(rows: list[Row], cut: int) -> None:
    batch = batch_of(rows)
    del batch._buffer[max(len(batch._buffer) - cut, DefaultRecordBatch.HEADER_STRUCT.size) :]
    with pytest.raises(CorruptRecordError):
        read(batch)


def test_the_log_may_say_when_it_was_appended() -> None:
    batch = batch_of([(5, b"k", b"v", []), (9, b"k", b"v", [])])
    header = list(batch._header_data)
    header[5] |= DefaultRecordBatch.TIMESTAMP_TYPE_MASK
    header[8] = 77
    batch._header_data = tuple(header)
    assert [(record.timestamp, record.timestamp_type) for record in read(batch)] == [(77, 1), (77, 1)]
