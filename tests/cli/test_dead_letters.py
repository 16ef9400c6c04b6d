"""``latentstream dead-letters`` with letters that the worker's own class has written to a real Kafka."""

import json
from pathlib import Path
from typing import Any

import pytest
from kafka.consumer.fetcher import ConsumerRecord

from schemas.events import BadEvent, MalformedEvent, NonFinite
from schemas.settings import Settings
from tests.cli.conftest import Run
from tests.cli.kafka_topics import committed, read_topic
from workers import connections, topic_reader
from workers.cli.errors import CommandFailed
from workers.dead_letters import HEADER_REPLAYED, DeadLetters, Rejected
from workers.replay import REPLAY_GROUP


class Letters:
    """Publishes good records and refuses them, as a worker does."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        connections.ensure_topics(settings)

    def write(
        self, topic: str, key: bytes, value: bytes | None, headers: list[tuple[str, bytes]] | None = None
    ) -> None:
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

    def replayed(self, topic: str) -> list[ConsumerRecord]:
        """Return what was published again on ``topic``, each partition in its order."""
        return [record for record in read_topic(self._settings, topic) if HEADER_REPLAYED in dict(record.headers)]


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
    assert (again.key, again.value, again.timestamp) == (original.key, original.value, original.timestamp)
    assert again.headers == [*original.headers, (HEADER_REPLAYED, b"%d:0" % original.partition)]
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
    assert committed(settings, REPLAY_GROUP, settings.kafka.dead_letters_topic) == 0
    assert "1 event published again; passed over: 1 overtaken" in run_real("dead-letters", "replay").stderr
    assert "0 events published again; passed over: 2 overtaken" in run_real("dead-letters", "replay", "--all").stderr
    assert "2 events published again" in run_real("dead-letters", "replay", "--all", "--overtaken").stderr
    assert len(written.read(items)) == 3


def test_what_is_overtaken_is_passed_over(run_real: Run, settings: Settings, written: Letters) -> None:
    """By letter: the key, what was written under it, and which of it was refused; only what is named is published."""
    items, interactions = settings.kafka.items_topic, settings.kafka.interactions_topic

    def touch(item: str, number: int) -> bytes:
        return json.dumps({"user_id": "u", "item_id": item, "timestamp": number}).encode()

    stream: list[tuple[str, bytes, bytes | None, bool]] = [
        (items, b"newer", b"1", True),
        (items, b"newer", b"2", False),
        (items, b"deleted", b"3", True),
        (items, b"deleted", None, False),
        (items, b"newest", b"4", False),
        (items, b"newest", b"5", True),
        (items, b"both refused", b"6", True),
        (items, b"both refused", b"7", True),
        (interactions, b"u", touch("a", 8), True),
        (interactions, b"u", touch("b", 9), True),
        (interactions, b"u", touch("a", 10), False),
        (interactions, b"u", b"not JSON", True),
    ]
    refused = []
    for topic, key, value, bad in stream:
        written.write(topic, key, value)
        if bad:
            refused.append(written.read(topic)[-1])
    written.refuse(refused, MalformedEvent("as it was then"))
    result = run_real("dead-letters", "replay")
    assert "5 events published again; passed over: 3 overtaken by newer events" in result.stderr
    again = written.replayed(items)
    assert sorted(record.value for record in again) == [b"5", b"6", b"7"]
    assert [record.value for record in again if record.key == b"both refused"] == [b"6", b"7"]
    assert [record.value for record in written.replayed(interactions)] == [touch("b", 9), b"not JSON"]


def test_an_event_that_was_published_again_counts_by_its_first_place(
    run_real: Run, settings: Settings, written: Letters
) -> None:
    items = settings.kafka.items_topic
    for value in (b"first", b"second"):
        written.write(items, b"key", value)
    first, second = written.read(items)
    written.refuse([first], MalformedEvent("x"))
    assert "0 events published again; passed over: 1 overtaken" in run_real("dead-letters", "replay").stderr
    # The letter of the second comes late: what was published again meanwhile is older all the same.
    assert "1 event published again" in run_real("dead-letters", "replay", "--all", "--overtaken").stderr
    written.refuse([second], MalformedEvent("x"))
    assert "1 event published again" in run_real("dead-letters", "replay").stderr
    assert [record.value for record in written.replayed(items)] == [b"first", b"second"]
    # Refused once more, it is a letter of its own, and it is still the newest.
    written.refuse(written.replayed(items)[1:], MalformedEvent("x"))
    assert "1 event published again" in run_real("dead-letters", "replay").stderr


def test_a_letter_is_shown_in_full_and_harmless(
    run_real: Run, settings: Settings, written: Letters, tmp_path: Path
) -> None:
    items = settings.kafka.items_topic
    evil = b"\xff\x1b[31m[bold]" + b"y" * 5000 + b"end"
    written.write_and_refuse(items, b"\x1b]0;x\x07", evil, MalformedEvent("not \x1b[1m"))
    written.write_and_refuse(items, b"other", b"{}", NonFinite("features[0] is nan"))
    original = written.read(items)[0]
    place = (items, str(original.partition), str(original.offset))
    result = run_real("dead-letters", "show", *place)
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.stdout
    for part in ("MalformedEvent", "\\x1b[31m[bold]yyy", "yyyend", "\\x1b]0;x\\x07", "header trace", "\\x00\\xff"):
        assert part in result.stdout
    assert "NonFinite" in run_real("dead-letters", "show").stdout
    assert "MalformedEvent" in run_real("dead-letters", "show", "--reason", "MalformedEvent").stdout
    target = tmp_path / "value"
    assert run_real("dead-letters", "show", *place, "-o", str(target)).exit_code == 0
    assert target.read_bytes() == evil


def test_show_says_what_is_wrong(run_real: Run, settings: Settings, written: Letters, tmp_path: Path) -> None:
    interactions = settings.kafka.interactions_topic
    missing = run_real("dead-letters", "show", interactions, "0", "7").exception
    assert isinstance(missing, CommandFailed)
    assert "there is no such letter" in str(missing)
    written.write(interactions, b"u", None)
    written.refuse(written.read(interactions), MalformedEvent("no value"))
    assert "null" in run_real("dead-letters", "show").stdout
    empty = run_real("dead-letters", "show", "-o", str(tmp_path / "value")).exception
    assert isinstance(empty, CommandFailed)
    assert "no value" in str(empty)
    written.write_and_refuse(interactions, b"u", b"x", MalformedEvent("x"))
    unwritable = run_real("dead-letters", "show", "-o", str(tmp_path)).exception
    assert isinstance(unwritable, CommandFailed)
    assert "cannot be written" in str(unwritable)
    for wrong in ((interactions,), (interactions, "0", "x"), (interactions, "0", "1", "--reason", "NonFinite")):
        assert run_real("dead-letters", "show", *wrong).exit_code == 2


def test_letters_that_cannot_go_back_are_passed_over(run_real: Run, settings: Settings, written: Letters) -> None:
    letter = [("dead-letter-topic", b"somebody-elses"), ("dead-letter-offset", b"-3x")]
    written.write(settings.kafka.dead_letters_topic, b"key", b"value", letter)
    written.write(settings.kafka.dead_letters_topic, b"key", b"value")
    large = b"x" * (settings.events.max_bytes + 1)
    written.write_and_refuse(settings.kafka.items_topic, b"1", large, MalformedEvent("too large"))
    origin = [("dead-letter-topic", settings.kafka.interactions_topic.encode()), ("dead-letter-offset", b"7")]
    written.write(settings.kafka.dead_letters_topic, b"1", b"begins", [*origin, ("dead-letter-value-bytes", b"900000")])
    result = run_real("dead-letters", "replay")
    assert result.exit_code == 0, result.output
    assert "0 events published again" in result.stderr
    assert "2 not from the topics in the settings" in result.stderr
    assert "2 not whole, or larger than" in result.stderr
    assert len(written.read(settings.kafka.items_topic)) == 1
    shown = run_real("dead-letters", "show", settings.kafka.interactions_topic, "0", "7")
    assert isinstance(shown.exception, CommandFailed)
    shown = run_real("dead-letters", "show", "--topic", settings.kafka.interactions_topic)
    assert "900,000 bytes, of which the letter has the first 6" in shown.stdout


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
    assert [record.value for record in written.replayed(items)] == [b"0", b"1", b"2", b"3"]
