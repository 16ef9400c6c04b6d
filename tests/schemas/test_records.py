"""The layouts of what Redis holds."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.documents import recommendation_order
from schemas.records import (
    TAGS,
    CodeRecord,
    LogEntry,
    Touch,
    WrongVersion,
    pack_codes,
    pack_history,
    unpack_codes,
    unpack_history,
    version_tag,
)

text = st.text(st.characters(codec="utf-8"))
tags = st.integers(0, TAGS - 1)
errors = st.just(0.0) | st.floats(1e-9, 1e9)
normal_scores = st.none() | st.just(0.0) | st.floats(1 / 256, 1)
high_scores = st.floats(1, 256, exclude_min=True)
verdicts = st.tuples(st.just(False), normal_scores) | st.tuples(st.just(True), high_scores)


@given(st.booleans(), verdicts, errors, tags, st.binary(max_size=64))
def test_code_record_survives(
    available: bool, verdict: tuple[bool, float | None], error: float, tag: int, code: bytes
) -> None:
    anomalous, score = verdict
    data = CodeRecord(available, anomalous, error, score, tag, code).pack()
    assert len(data) == 3 + len(code)
    record = CodeRecord.unpack(data, tag)
    assert (record.available, record.anomalous, record.tag, record.code) == (available, anomalous, tag, code)
    assert record.error == pytest.approx(error, rel=0.0055, abs=0)
    assert record.score == (None if score is None else pytest.approx(score, rel=0.051, abs=0))
    assert record.score is None or (record.score > 1) == anomalous
    # What is stored stays what it is when it is written again.
    assert CodeRecord.unpack(record.pack()) == record


@given(st.floats(0, 1e300), st.floats(0, 1e300), st.booleans())
def test_figures_outside_the_range_become_its_ends(error: float, score: float, anomalous: bool) -> None:
    record = CodeRecord.unpack(CodeRecord(True, anomalous, error, score, 0, b"").pack())
    assert (record.error == 0) == (error == 0)
    assert record.error <= 4.3e9
    assert record.score is not None
    assert record.score <= 490
    # The mark decides, whatever the score says.
    assert record.anomalous == anomalous


@pytest.mark.parametrize("error", [math.inf, math.nan, -1.0])
def test_error_that_cannot_be_counts_as_the_largest(error: float) -> None:
    assert CodeRecord.unpack(CodeRecord(True, False, error, None, 0, b"x").pack()).error == pytest.approx(
        4.25e9, rel=0.01
    )


def test_code_record_layout() -> None:
    """These are in people's Redis: another layout would need another name for the key."""
    assert CodeRecord(True, True, 1.0, 1.05, 5, b"\x01\xff").pack() == bytes([0x00, 0x18, 0x5C, 0x01, 0xFF])
    assert CodeRecord(False, False, 0.0, None, 0, b"").pack() == bytes(3)
    assert [version_tag(version) for version in ("a", "b", "20240101T000000-1a2b3c4d")] == [14, 11, 12]


def test_records_of_a_batch_are_those_of_each_alone() -> None:
    rng = np.random.default_rng(0)
    available = rng.random(200) < 0.5
    record_errors = rng.lognormal(0, 9, 200).astype(np.float32)
    scores = np.where(rng.random(200) < 0.2, np.nan, rng.lognormal(0, 3, 200)).astype(np.float32)
    codes = rng.integers(0, 256, (200, 7), dtype=np.uint8)
    packed = pack_codes(9, available, scores > 1, record_errors, scores, codes)
    for row, data in enumerate(packed):
        score = None if np.isnan(scores[row]) else float(scores[row])
        record = CodeRecord(
            bool(available[row]), bool(scores[row] > 1), float(record_errors[row]), score, 9, codes[row].tobytes()
        )
        assert data == record.pack()


def sound_or_not(tag: int, code_bytes: int) -> st.SearchStrategy[bytes]:
    codes = st.just(b"") | st.binary(min_size=code_bytes, max_size=code_bytes)
    records = st.builds(
        lambda available, code: CodeRecord(available, False, 0.5, None, tag, code), st.booleans(), codes
    )
    return records.map(CodeRecord.pack) | st.binary(max_size=8)


@given(tags, st.integers(0, 4), st.data())
def test_batch_is_unpacked_as_each_record_alone(tag: int, code_bytes: int, data: st.DataObject) -> None:
    records = data.draw(st.lists(sound_or_not(tag, code_bytes), max_size=9))
    rows = unpack_codes(records, tag, code_bytes)
    for place, one in enumerate(records):
        try:
            alone = CodeRecord.unpack(one, tag)
        except ValueError:
            alone = None
        if alone is None or len(alone.code) not in {0, code_bytes}:
            assert not rows.sound[place]
            assert not any(column[place].any() for column in (rows.available, rows.coded, rows.packed))
            continue
        assert rows.sound[place]
        assert (rows.available[place], rows.coded[place]) == (alone.available, bool(alone.code))
        assert rows.packed[place].tobytes() == one.ljust(3 + code_bytes, bytes(1))
    some = np.arange(0, len(records), 2)
    assert all(np.array_equal(part, whole[some]) for part, whole in zip(rows.at(some), rows, strict=True))


def test_no_records_are_no_bytes() -> None:
    nothing: Any = np.zeros(0)
    assert pack_codes(0, nothing > 0, nothing > 0, nothing, nothing, np.zeros((0, 4), np.uint8)) == []


def test_record_of_another_version_is_refused_and_never_decoded() -> None:
    data = CodeRecord(True, False, 0.5, None, 3, b"code").pack()
    with pytest.raises(WrongVersion, match="its tag is 3, not 4"):
        CodeRecord.unpack(data, 4)
    assert CodeRecord.unpack(data, 3) == CodeRecord.unpack(data)


def test_tags_tell_versions_apart() -> None:
    versions = [version_tag(f"20240101T000000-{number:08x}") for number in range(3_200)]
    assert np.bincount(versions, minlength=TAGS).min() > 140


def test_anomaly_without_a_score_is_refused() -> None:
    with pytest.raises(ValueError, match="an anomaly has a score"):
        CodeRecord(True, True, 0.0, None, 0, b"").pack()


@pytest.mark.parametrize("tag", [-1, TAGS])
def test_tag_that_does_not_fit_is_refused(tag: int) -> None:
    with pytest.raises(ValueError, match="is not in"):
        CodeRecord(True, False, 0.0, None, tag, b"").pack()


@pytest.mark.parametrize("data", [b"", b"\x01\x00"])
def test_damaged_code_record_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a code record"):
        CodeRecord.unpack(data)


blobs = st.binary(max_size=40)


@given(st.integers(0, 1 << 60), st.dictionaries(text, st.tuples(blobs, blobs), max_size=5))
def test_log_entry_survives(base: int, changes: dict[str, tuple[bytes, bytes]]) -> None:
    records, attributes = [record for record, _ in changes.values()], [own for _, own in changes.values()]
    entry = LogEntry(base, list(changes), records, attributes)
    assert LogEntry.unpack(entry.pack()) == entry


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", msgspec.msgpack.encode([1, ["a"], [b"abc"]]), LogEntry(1, ["a"], [b"abc"], []).pack()]
)
def test_entry_of_another_layout_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not an entry of a change log"):
        LogEntry.unpack(data)


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
