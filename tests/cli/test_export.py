"""``latentstream export`` on real servers: what it writes can be published, and is the same again."""

from pathlib import Path

import msgspec
import redis

from schemas.events import InteractionEvent, ItemEvent, decode_interaction, decode_item, encode
from schemas.keys import Keys
from schemas.records import Touch, pack_history
from schemas.settings import Settings
from tests.cli.conftest import Run
from workers import connections


def test_items_are_the_newest_of_all_partitions(run_real: Run, settings: Settings, tmp_path: Path) -> None:
    connections.ensure_topics(settings)
    producer, topic = connections.producer(settings), settings.kafka.items_topic
    old, new = ItemEvent(item_id="moved", features=[1.0]), ItemEvent(item_id="moved", features=[2.0])
    gone, kept = ItemEvent(item_id="gone", features=[1.0]), ItemEvent(item_id="kept", attributes={"a": "é"})
    sent = [
        (0, old, 1_000),
        (2, new, 2_000),
        (0, gone, 1_000),
        (1, None, 2_000),
        (1, kept, 1_000),
    ]
    for partition, event, time_ms in sent:
        key = event.item_id.encode() if event else b"gone"
        value = encode(event) if event else None
        producer.send(topic, partition=partition, key=key, value=value, timestamp_ms=time_ms).get(timeout=30)
    producer.send(topic, partition=2, key=b"moved", value=b"{", timestamp_ms=3_000).get(timeout=30)
    producer.close()
    path = tmp_path / "items.jsonl"
    result = run_real("export", "items", "-o", str(path))
    assert result.exit_code == 0, result.output
    assert "2 events; 1 bad ones are left out" in result.stderr
    events = [decode_item(line) for line in path.read_bytes().splitlines()]
    assert {event.item_id: event for event in events} == {"moved": new, "kept": kept}
    assert len(events) == 2
    assert list(tmp_path.iterdir()) == [path]


def test_histories_come_before_what_was_not_processed(
    run_real: Run, settings: Settings, redis_client: redis.Redis, tmp_path: Path
) -> None:
    connections.ensure_topics(settings)
    producer, topic = connections.producer(settings), settings.kafka.interactions_topic
    touches = [Touch("1", 2.0, 10.0, "view"), Touch("2", 1.0, 5.0, "dismiss")]
    users = Keys(settings.redis.prefix).users(1)
    redis_client.hset(users.position, mapping={"epoch": 1, "next": 1, "ids": 1, "buckets": 1})
    redis_client.hset(users.histories(0), "u", pack_history(touches))
    waiting = [InteractionEvent("u", "3"), InteractionEvent("u", "1", weight=0.0, timestamp=20.0)]
    places = [(1, InteractionEvent("u", "processed"), 500), (1, waiting[0], 3_000), (0, waiting[1], 9_000)]
    for partition, event, time_ms in places:
        producer.send(topic, partition=partition, key=b"u", value=encode(event), timestamp_ms=time_ms).get(timeout=30)
    producer.close()
    path = tmp_path / "interactions.jsonl"
    result = run_real("export", "interactions", "-o", str(path))
    assert result.exit_code == 0, result.output
    events = [decode_interaction(line) for line in path.read_bytes().splitlines()]
    assert events == [
        InteractionEvent("u", "1", "view", 2.0, 10.0),
        InteractionEvent("u", "2", "dismiss", 1.0, 5.0),
        # Without a time of its own it has that of its record.
        msgspec.structs.replace(waiting[0], timestamp=3.0),
        waiting[1],
    ]
