"""The layouts of what Redis holds."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.documents import recommendation_order
from schemas.records import CodeRecord, LogEntry, Touch, pack_history, unpack_history

text = st.text(st.characters(codec="utf-8"))
errors = st.floats(0, 2.0**100, allow_subnormal=False, width=32)


@given(st.booleans(), errors, st.binary(max_size=64))
def test_code_record_survives(available: bool, error: float, code: bytes) -> None:
    record = CodeRecord.unpack(CodeRecord(available, error, code).pack())
    assert (record.available, record.code) == (available, code)
    # 8 bits of mantissa, rounded to nearest.
    assert record.error == pytest.approx(error, rel=2**-8, abs=1e-37)
    # What is stored stays what it is when it is written again.
    assert CodeRecord.unpack(record.pack()) == record


def test_code_record_layout() -> None:
    assert CodeRecord(available=True, error=1.0, code=b"\x01\xff").pack() == bytes([3, 0x80, 0x3F, 0x01, 0xFF])
    assert CodeRecord(available=False, error=0.0, code=b"").pack() == bytes(3)


def test_error_too_large_becomes_infinite_and_not_nan() -> None:
    assert CodeRecord.unpack(CodeRecord(True, 1e300, b"x").pack()).error == float("inf")


@pytest.mark.parametrize("data", [b"", b"\x01\x00", b"\x02\x00\x00", b"\x01\x00\x00x"])
def test_damaged_code_record_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a code record"):
        CodeRecord.unpack(data)


@given(st.integers(0, 1 << 60), st.dictionaries(text, st.binary(max_size=40), max_size=5))
def test_log_entry_survives(base: int, changes: dict[str, bytes]) -> None:
    entry = LogEntry(base, list(changes), list(changes.values()))
    assert LogEntry.unpack(entry.pack()) == entry


touches = st.builds(Touch, text, st.floats(0, 1e6), st.floats(0, 1 << 33), text)


@given(st.lists(touches, max_size=5))
def test_history_survives(history: list[Touch]) -> None:
    assert unpack_history(pack_history(history)) == history


def test_no_history_is_empty() -> None:
    assert unpack_history(None) == []


def test_history_is_plain_json() -> None:
    assert pack_history([Touch("a", 1.0, 5.5, "view")]) == b'[["a",1.0,5.5,"view"]]'


@given(
    st.tuples(st.integers(0, 10**12 - 1), st.integers(0, 10**16 - 1)),
    st.tuples(st.integers(0, 10**12 - 1), st.integers(0, 10**16 - 1)),
)
def test_order_of_lists_sorts_as_text(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert (recommendation_order(*one) < recommendation_order(*other)) == (one < other)


def test_record_is_three_bytes_longer_than_its_code() -> None:
    assert struct.calcsize("<BH") == 3
    assert len(CodeRecord(True, 0.5, b"x" * 32).pack()) == 35
