"""``latentstream dead-letters`` with letters that the worker's own class has written to a real Kafka."""

import json
from typing import Any

import pytest
from kafka.consumer.fetcher import ConsumerRecord

from schemas.events import BadEvent, MalformedEvent, NonFinite
from schemas.settings import Settings
from tests.cli.conftest import Run
from tests.cli.kafka_topics import committed, read_topic
from workers import connections, letters, topic_reader
from workers.dead_letters import DeadLetters, Rejected


class Letters:
    """Publishes good records and refuses them, as a worker does."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        connections.ensure_topics(settings)

    def write(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]] | None = None) -> None:
        """Publish an event to ``topic``."""
        producer = connections.producer(self._settings)
        producer.send(topic, key=key, value=value, headers=headers or []).get(timeout=30)
        producer.close()

    def refuse(self, records: list[ConsumerRecord], reason: BadEvent) -> None:
        """Write a dead letter for each record."""
        dead_letters = DeadLetters(connections.producer(self._settings), self._settings)
        dead_letters.publish([Rejected(record, reason) for record in records])
        dead_letters.close()

    def write_and_refuse(self, topic: str, key: bytes, value: bytes, reason: BadEvent) -> None:
        """Publish an event and write its dead letter."""
        self.write(topic, key, value, [("content-type", b"application/json"), ("trace", b"\x00\xff")])
        self.refuse([self.read(topic)[-1]], reason)

    def read(self, topic: str) -> list[ConsumerRecord]:
        """Return what is on ``topic``, in the order of writing."""
        return sorted(read_topic(self._settings, topic), key=lambda record: (record.timestamp, record.offset))


@pytest.fixture
def written(settings: Settings) -> Letters:
    return Letters(settings)


def listed(run: Run, *arguments: str) -> list[dict[str, Any]]:
    result = run("dead-letters", "list", "--json", *arguments)
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_there_are_no_letters_before_the_topic_exists(run_real: Run) -> None:
    result = run_real("dead-letters", "list")
    assert result.exit_code == 0
    assert "No dead letters" in result.stdout


def test_a_letter_is_shown_with_its_reason_and_without_its_escape_sequences(
    run_real: Run, settings: Settings, written: Letters
) -> None:
    items = settings.kafka.items_topic
    written.write_and_refuse(items, b"\x1b]0;x\x07", b"\xff\x1b[31m[bold]" + b"y" * 5000, MalformedEvent("not \x1b[1m"))
    (letter,) = listed(run_real)
    assert (letter["topic"], letter["exception"], letter["message"]) == (items, "MalformedEvent", "not \x1b[1m")
    assert letter["offset"] == 0
    assert letter["value_bytes"] == 5012
    shown = run_real("dead-letters", "list").stdout
    assert "\x1b" not in shown
    assert "\\x1b[31m[bold]" in shown
    assert "MalformedEvent" in shown


def test_copies_are_shown_once_newest_first_and_filtered(
    run_real: Run, settings: Settings, written: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka = settings.kafka
    for number in range(5):
        written.write(kafka.items_topic, b"key", b"item %d" % number)
    written.write(kafka.interactions_topic, b"key", b"interaction")
    items = written.read(kafka.items_topic)
    written.refuse(items, NonFinite("features[0] is nan"))
    # A worker that was killed before its commit writes them again.
    written.refuse(items[2:], NonFinite("features[0] is nan"))
    written.refuse(written.read(kafka.interactions_topic), MalformedEvent("not JSON"))
    monkeypatch.setattr(topic_reader, "_FIRST_WINDOW", 1)
    everything = [(letter["topic"], letter["offset"]) for letter in listed(run_real)]
    expected = [(kafka.interactions_topic, 0), *((kafka.items_topic, offset) for offset in (4, 3, 2, 1, 0))]
    assert sorted(everything) == sorted(expected)
    assert everything[0] == expected[0]
    assert [letter["offset"] for letter in listed(run_real, "--topic", kafka.items_topic, "--limit", "2")] == [4, 3]
    (other,) = listed(run_real, "--reason", "MalformedEvent")
    assert other["topic"] == kafka.interactions_topic
    assert listed(run_real, "--reason", "WrongShape") == []


def test_a_replay_brings_back_the_event_as_it_was_and_only_once(
    run_real: Run, settings: Settings, written: Letters
) -> None:
    items, interactions = settings.kafka.items_topic, settings.kafka.interactions_topic
    written.write_and_refuse(items, b"1", b"\x00\xffraw", MalformedEvent("not JSON"))
    written.write_and_refuse(interactions, b"u", b"{}", NonFinite("weight is nan"))
    first = run_real("dead-letters", "replay")
    assert first.exit_code == 0, first.output
    assert "2 events published again" in first.stderr
    original, again = written.read(items)
    assert (again.key, again.value, again.headers) == (original.key, original.value, original.headers)
    assert len(written.read(interactions)) == 2
    assert "0 events published again" in run_real("dead-letters", "replay").stderr
    # A new letter is replayed, those before it are not.
    written.write_and_refuse(items, b"2", b"new", MalformedEvent("not JSON"))
    assert "1 event published again" in run_real("dead-letters", "replay").stderr
    assert [record.key for record in written.read(items)] == [b"1", b"1", b"2", b"2"]


def test_the_copy_of_a_replayed_letter_is_not_replayed(run_real: Run, settings: Settings, written: Letters) -> None:
    items = settings.kafka.items_topic
    written.write_and_refuse(items, b"1", b"bad", MalformedEvent("not JSON"))
    assert "1 event published again" in run_real("dead-letters", "replay").stderr
    # A new model reads the topic from its beginning and refuses the event anew.
    written.refuse(written.read(items)[:1], MalformedEvent("not JSON"))
    assert "0 events published again; passed over: 1 copies" in run_real("dead-letters", "replay").stderr
    assert len(written.read(items)) == 2


def test_a_choice_needs_all_and_loses_nothing(run_real: Run, settings: Settings, written: Letters) -> None:
    items, interactions = settings.kafka.items_topic, settings.kafka.interactions_topic
    written.write_and_refuse(items, b"1", b"bad", MalformedEvent("not JSON"))
    written.write_and_refuse(interactions, b"u", b"bad", NonFinite("weight is nan"))
    refused = run_real("dead-letters", "replay", "--reason", "NonFinite")
    assert refused.exit_code == 2
    assert "--all" in refused.stderr
    chosen = run_real("dead-letters", "replay", "--all", "--reason", "NonFinite")
    assert "1 event published again; passed over: 1 not asked for" in chosen.stderr
    assert committed(settings, letters.REPLAY_GROUP, settings.kafka.dead_letters_topic) == 0
    assert "2 events published again" in run_real("dead-letters", "replay").stderr
    assert "2 events published again" in run_real("dead-letters", "replay", "--all").stderr
    assert len(written.read(items)) == 3


def test_letters_that_cannot_go_back_are_passed_over(run_real: Run, settings: Settings, written: Letters) -> None:
    letter = [("dead-letter-topic", b"somebody-elses"), ("dead-letter-offset", b"-3x")]
    written.write(settings.kafka.dead_letters_topic, b"key", b"value", letter)
    written.write(settings.kafka.dead_letters_topic, b"key", b"value")
    large = b"x" * (settings.events.max_bytes + 1)
    written.write_and_refuse(settings.kafka.items_topic, b"1", large, MalformedEvent("too large"))
    result = run_real("dead-letters", "replay")
    assert result.exit_code == 0, result.output
    assert "0 events published again" in result.stderr
    assert "2 not from the topics in the settings" in result.stderr
    assert "1 larger than" in result.stderr
    assert len(written.read(settings.kafka.items_topic)) == 1


def test_what_was_not_acknowledged_is_replayed_next_time(
    run_real: Run, settings: Settings, written: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = settings.kafka.items_topic
    for number in range(4):
        written.write(items, b"key", b"%d" % number)
    written.refuse(written.read(items), MalformedEvent("not JSON"))
    make = connections.producer

    def failing(*arguments: Any, **options: Any) -> Any:
        producer = make(*arguments, **options)
        send = producer.send

        def refuse_the_third(topic: str, **record: Any) -> Any:
            # The client refuses what is larger than it may be, and 2 is now.
            return send(topic, **record | {"value": b"x" * (4 << 20)} if record["value"] == b"2" else record)

        producer.send = refuse_the_third
        return producer

    monkeypatch.setattr(connections, "producer", failing)
    result = run_real("dead-letters", "replay")
    assert result.exception is not None
    assert "2 events published again" in result.stderr
    monkeypatch.setattr(connections, "producer", make)
    assert "2 events published again" in run_real("dead-letters", "replay").stderr
    assert [record.value for record in written.read(items)[4:]] == [b"0", b"1", b"2", b"3"]
