"""``latentstream publish`` to a real Kafka."""

import gzip
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from schemas.events import CONTENT_TYPE_HEADER, JSON, MSGPACK, InteractionEvent, decode_interaction, decode_item, encode
from schemas.settings import Settings
from tests.cli.conftest import Run
from tests.cli.kafka_topics import read_topic
from tests.processes import REPOSITORY, environment
from workers import connections
from workers.topic_reader import bounds

ITEMS = [b'{"item_id": "%d", "features": [%d, 0.5], "attributes": {"title": "Film %d"}}' % (n, n, n) for n in range(50)]


@pytest.mark.parametrize(("form", "content_type"), [("json", JSON), ("msgpack", MSGPACK)])
def test_items_can_be_read_back(
    run_real: Run, settings: Settings, tmp_path: Path, form: str, content_type: str
) -> None:
    plain, packed = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"
    plain.write_bytes(b"\n".join(ITEMS[:20]))
    packed.write_bytes(gzip.compress(b"\n".join([*ITEMS[20:], b'{"item_id": "0", "deleted": true}'])))
    result = run_real("publish", "items", str(plain), str(packed), "--format", form)
    assert result.exit_code == 0, result.output
    assert "51 of 51 lines arrived" in result.stderr
    records = read_topic(settings, settings.kafka.items_topic)
    by_key: dict[bytes, list[bytes | None]] = {}
    for record in records:
        headers = {name: value.decode() for name, value in record.headers}
        assert headers.get(CONTENT_TYPE_HEADER, JSON) == content_type
        by_key.setdefault(record.key, []).append(record.value)
    # The deletion stands behind the event, because one key has one partition.
    assert by_key[b"0"][1] is None
    assert len(records) == 51
    events = {key: decode_item(values[0] or b"", content_type) for key, values in by_key.items()}
    assert events == {b"%d" % n: decode_item(line) for n, line in enumerate(ITEMS)}


def test_interactions_come_from_standard_input_with_the_user_as_key(run_real: Run, settings: Settings) -> None:
    event = InteractionEvent("user é", "item", weight=2.5, timestamp=893286638.0)
    result = run_real("publish", "interactions", "-", stdin=encode(event))
    assert result.exit_code == 0, result.output
    (record,) = read_topic(settings, settings.kafka.interactions_topic)
    assert record.key == "user é".encode()
    assert decode_interaction(record.value) == event


def test_bad_lines_are_reported_with_their_place_and_good_ones_arrive(
    run_real: Run, settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(ITEMS[0] + b'\n{"item_id": ""}\n\x1b[31mred\n' + ITEMS[1])
    result = run_real("publish", "items", str(path))
    assert result.exit_code == 1
    assert f"{path}:2: InvalidEvent: " in result.stderr
    assert f"{path}:3: MalformedEvent: " in result.stderr
    assert "2 of 4 lines arrived" in result.stderr
    assert "2 bad and not sent" in result.stderr
    assert "\x1b" not in result.output
    assert {record.key for record in read_topic(settings, settings.kafka.items_topic)} == {b"0", b"1"}


def test_more_lines_than_may_wait_for_their_acknowledgement_all_arrive(
    run_real: Run, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.publisher.MAX_UNACKNOWLEDGED", 10)
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(b'{"user_id": "u%d", "item_id": "%d"}\n' % (n % 7, n) for n in range(500)))
    result = run_real("publish", "interactions", str(path))
    assert result.exit_code == 0, result.output
    assert "500 of 500 lines arrived" in result.stderr
    records = read_topic(settings, settings.kafka.interactions_topic)
    for user in range(7):
        seen = [int(decode_interaction(record.value).item_id) for record in records if record.key == b"u%d" % user]
        assert seen == list(range(user, 500, 7))


def test_a_missing_file_is_said_before_anything_is_sent(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("publish", "items", "absent.jsonl")
    assert result.exit_code == 2
    assert "absent.jsonl" in result.stderr


def test_control_c_counts_what_has_arrived(settings: Settings) -> None:
    command = [sys.executable, "-m", "workers", "publish", "items", "-"]
    pipe = subprocess.PIPE
    connections.ensure_topics(settings)
    with (
        closing(connections.consumer(settings, None)) as consumer,
        subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=environment(settings),
            stdin=pipe,
            stderr=pipe,
            text=True,
            # Tests that run in the background of a shell ignore the signal, and what they start would, too.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process,
    ):
        assert process.stdin is not None
        process.stdin.write('{"item_id": "1"}\n{"item_id": "2"}\n')
        process.stdin.flush()
        while sum(bounds(consumer, settings.kafka.items_topic)[1].values()) < 2:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted: 2 of 2 lines arrived" in told
    assert "Traceback" not in told
