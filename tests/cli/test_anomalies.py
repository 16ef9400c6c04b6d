"""``latentstream anomalies`` with events that the worker's own class has written to a real Kafka."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.events import AnomalyEvent
from schemas.settings import Settings
from tests.cli.conftest import Run
from workers import connections, topic_reader
from workers.anomalies import Anomalies


def event(item_id: str, offset: int, model: str = "v1") -> AnomalyEvent:
    return AnomalyEvent(item_id, 2.5 + offset, 0.125, model, "items", 1, offset, 1.5)


def listed(run: Run, *arguments: str) -> list[dict[str, Any]]:
    result = run("anomalies", "--json", *arguments)
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_there_are_no_items_before_the_topic_exists(run_real: Run) -> None:
    result = run_real("anomalies")
    assert result.exit_code == 0, result.output
    assert "No marked items" in result.stdout
    assert listed(run_real) == []


def test_each_item_is_shown_once_newest_first_and_what_others_wrote_is_passed_over(
    run_real: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections.ensure_topics(settings)
    producer = connections.producer(settings)
    anomalies = Anomalies(producer, settings)
    for offset in range(6):
        anomalies.publish([event(f"item {offset % 3}", offset)])
    anomalies.publish([event("\x1b[31m", 6, "v2")])
    for value in (b"{", None):
        producer.send(settings.kafka.anomalies_topic, key=b"item 0", value=value).get(timeout=30)
    producer.close()
    monkeypatch.setattr(topic_reader, "_FIRST_WINDOW", 1)
    found = listed(run_real)
    assert [(marked["item_id"], marked["offset"]) for marked in found] == [
        ("\x1b[31m", 6),
        ("item 2", 5),
        ("item 1", 4),
        ("item 0", 3),
    ]
    assert (found[0]["model"], found[0]["score"], found[0]["topic"]) == ("v2", 8.5, "items")
    assert [marked["offset"] for marked in listed(run_real, "--limit", "2")] == [6, 5]
    shown = run_real("anomalies").stdout
    assert "\x1b" not in shown
    assert "\\x1b[31m" in shown
    assert "item 1" in shown
