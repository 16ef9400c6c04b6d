"""Which items become events, and what these say."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from models.content import Encoded
from schemas.events import AnomalyEvent, ItemEvent, decode_anomaly, encode
from workers.anomalies import marked_items
from workers.decoding import ItemChange

LARGEST = float(np.finfo(np.float32).max)


def change(item_id: str, offset: int, timestamp_ms: int = 1500) -> ItemChange:
    record = SimpleNamespace(topic="items", partition=3, offset=offset, timestamp=timestamp_ms)
    return ItemChange(item_id, ItemEvent(item_id), None, record)


def encoded(scores: list[float], errors: list[float]) -> Encoded:
    codes = np.zeros((len(scores), 1), np.uint8)
    return Encoded(codes, np.array(errors, np.float32), np.array(scores, np.float32))


def test_only_what_scores_above_1_becomes_an_event() -> None:
    just_above = float(np.nextafter(np.float32(1), np.float32(2)))
    scores = [0.0, 1.0, just_above, math.nan, 250.0]
    # The second is a deletion: it has no row.
    changes = [change(name, offset) for offset, name in enumerate("a-bcde", start=7)]
    assert marked_items("v1", changes, [0, 2, 3, 4, 5], encoded(scores, [0.5] * 5)) == [
        AnomalyEvent("c", just_above, 0.5, "v1", "items", 3, 10, 1.5),
        AnomalyEvent("e", 250.0, 0.5, "v1", "items", 3, 12, 1.5),
    ]
    assert marked_items("v1", [], [], encoded([], [])) == []


def test_an_event_is_written_whatever_the_item_says_of_itself() -> None:
    """An error beyond float32 has no number in JSON, and a producer may give a record any time."""
    changes = [change("a", 0, -1), change("b", 1, 1 << 62)]
    events = marked_items("v1", changes, [0, 1], encoded([2.0, 3.0], [math.inf] * 2))
    assert [event.error for event in events] == [LARGEST, LARGEST]
    assert [decode_anomaly(encode(event)) for event in events] == events
