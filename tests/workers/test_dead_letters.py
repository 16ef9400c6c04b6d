"""Letters of what does not fit into their topic, on a real Kafka."""

from __future__ import annotations

import random

from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from schemas.events import EventTooLarge, MalformedEvent
from schemas.settings import Settings
from tests.cli.kafka_topics import read_topic
from workers import connections
from workers.dead_letters import DeadLetters, Rejected, dead_letters_producer
from workers.letters import read_letter


def _record(settings: Settings, offset: int, value: bytes, headers: list[tuple[str, bytes]]) -> ConsumerRecord:
    partition = TopicPartition(settings.kafka.items_topic, 0)
    return ConsumerRecord(*partition, -1, offset, 5, 0, b"key", value, headers, None, 3, len(value), 0)


def test_what_does_not_fit_is_cut_and_the_next_letters_are_whole(settings: Settings) -> None:
    strict = settings.model_copy(update={"events": settings.events.model_copy(update={"max_bytes": 1024})})
    connections.ensure_topics(strict)
    # As it may come out of a well compressed batch; a message of the topic has less than 70,000 bytes.
    large = random.Random(0).randbytes(200_000)
    letters = DeadLetters(dead_letters_producer(strict), strict)
    for _ in range(2):
        letters.publish(
            [
                Rejected(_record(strict, 1, b"small", [("trace", b"1")]), MalformedEvent("not JSON")),
                Rejected(_record(strict, 2, large, []), EventTooLarge("large")),
                Rejected(_record(strict, 3, b"{}", [("large", large)]), MalformedEvent("with a large header")),
                Rejected(_record(strict, 4, b"last", []), MalformedEvent("not JSON")),
            ]
        )
    letters.close()
    found: dict[int, list[ConsumerRecord]] = {offset: [] for offset in (1, 2, 3, 4)}
    for record in read_topic(strict, strict.kafka.dead_letters_topic):
        found[read_letter(record).offset].append(record)
    assert {offset: len(records) for offset, records in found.items()} == {1: 2, 2: 2, 3: 2, 4: 2}
    for small, cut, headless, last in zip(*(found[offset] for offset in (1, 2, 3, 4)), strict=True):
        assert (small.value, last.value) == (b"small", b"last")
        assert ("trace", b"1") in small.headers
        assert not read_letter(small).cut
        letter = read_letter(cut)
        assert (letter.cut, letter.value_bytes, letter.exception) == (True, len(large), "EventTooLarge")
        assert large.startswith(cut.value)
        assert len(cut.value) > 10_000
        # Of its headers only ours are left.
        assert (headless.value, read_letter(headless).cut) == (b"{}", True)
