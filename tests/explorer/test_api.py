"""What the server answers, from a running system."""

from __future__ import annotations

import json
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from schemas.documents import Recommendations
from schemas.keys import Keys
from tests.explorer.conftest import BAD_VALUE, HOSTILE, HOSTILE_TITLE, ODD, Running
from workers.lookup import find_histories


def ask(running: Running, path: str, **parameters: Any) -> httpx.Response:
    return httpx.get(running.base + path, params=parameters, timeout=20)


def test_user_is_what_redis_has(running: Running) -> None:
    found = ask(running, "/api/user", id="42").json()
    (history,) = find_histories(running.redis, Keys(running.settings.redis.prefix), 2, ["42"])
    assert found["interactions"] == len(history) > 0
    assert [touch["item_id"] for touch in found["history"]] == [touch.item_id for touch in reversed(history)]
    assert found["history"][0]["title"] == f"Film {history[-1].item_id}"
    own, short = found["lists"]
    stored = running.redis.get(Keys(running.settings.redis.prefix).recommendations("42"))
    document = msgspec.json.decode(stored, type=Recommendations)  # type: ignore[arg-type]
    assert [item["item_id"] for item in own["items"]] == document.items
    assert (short["profile"], len(short["items"])) == ("short", 5)


def test_somebody_unknown_has_what_is_popular(running: Running) -> None:
    found = ask(running, "/api/user", id="nobody").json()
    assert (found["interactions"], found["history"]) == (0, [])
    assert found["lists"][0]["source"] == "popular"


def test_reasons_and_changes_come_from_the_recommender(running: Running) -> None:
    history = {touch["item_id"] for touch in ask(running, "/api/user", id="42").json()["history"]}
    why = ask(running, "/api/user/why", id="42").json()
    assert {reason["item_id"] for item in why["items"] for reason in item["because"]} <= history
    assert why["items"][0]["because"]
    changed = ask(running, "/api/user/changes", id="42", last=3).json()
    assert {event["item_id"] for event in changed["events"]} <= history
    assert len(changed["events"]) == 3
    ranks = [item["rank"] for item in changed["items"] if item["rank"] is not None]
    assert ranks == list(range(1, len(ranks) + 1))
    assert any(item["rank"] != item["before"] for item in changed["items"])


def test_item_with_original_reconstruction_and_neighbours(running: Running) -> None:
    event = running.world.items[4]
    found = ask(running, "/api/item", id=event.item_id).json()
    assert found["attributes"] == event.attributes
    assert (found["code_bytes"], found["shape"], found["anomalous"]) == (4, [7], False)
    original = ask(running, "/api/item/original", id=event.item_id).json()
    assert original["features"] == pytest.approx(event.features, rel=1e-6)
    decoded = ask(running, "/api/item/reconstruction", id=event.item_id).json()
    error = float(np.mean((np.array(decoded) - np.array(event.features)) ** 2))
    assert error == pytest.approx(found["error"], rel=0.02)
    near = ask(running, "/api/item/near", id=event.item_id).json()
    assert event.item_id not in {item["item_id"] for item in near["items"]}
    assert near["items"][0]["title"].startswith("Film ")


def test_hostile_text_stays_text(running: Running) -> None:
    found = ask(running, "/api/item", id=HOSTILE)
    assert found.headers["content-type"] == "application/json"
    assert found.json()["attributes"] == {"title": HOSTILE_TITLE}
    assert ask(running, "/api/item/original", id=HOSTILE).json()["features"] is not None
    assert ask(running, "/api/user", id=HOSTILE).json()["user_id"] == HOSTILE


@pytest.mark.parametrize(
    ("path", "parameters", "status"),
    [
        ("/api/user", {}, 400),
        ("/api/user", {"id": ""}, 400),
        ("/api/user", {"id": "x" * 257}, 400),
        ("/api/user/why", {"id": "42", "profile": "../x"}, 400),
        ("/api/user/changes", {"id": "42", "last": "-1"}, 400),
        ("/api/user/changes", {"id": "42", "last": "1e9"}, 400),
        ("/api/item", {"id": "not published"}, 404),
        ("/api/item/original", {"id": "not published"}, 404),
        ("/api/map/points", {"map": "another"}, 404),
        ("/api/map/search", {"text": ""}, 400),
        ("/report", {"version": "../../etc/passwd"}, 404),
        ("/report", {"version": "20200101T000000-00000000"}, 404),
        ("/static/../app.py", {}, 404),
        ("/nothing", {}, 404),
    ],
)
def test_what_is_not_there_is_refused_in_words(
    running: Running, path: str, parameters: dict[str, str], status: int
) -> None:
    refused = ask(running, path, **parameters)
    assert refused.status_code == status
    assert "Traceback" not in refused.text
    assert path.startswith(("/static", "/nothing")) or refused.json()["problem"]


def test_it_only_reads(running: Running) -> None:
    for path in ("/api/user", "/api/item", "/api/models", "/"):
        assert httpx.post(running.base + path).status_code == 405


def test_map_has_every_item_and_its_colours(running: Running) -> None:
    state = ask(running, "/api/map").json()
    count = len(running.world.items) + 2
    assert (state["points"], state["model"]) == (count, running.version)
    places = np.frombuffer(ask(running, "/api/map/points", map=state["map"]).content, "<f4").reshape(-1, 2)
    assert len(places) == count
    names = [scale["name"] for scale in state["colours"]]
    assert names == ["genres", "price", "anomaly score", "reconstruction error"]
    labels = state["colours"][0]["labels"]
    levels = np.frombuffer(ask(running, "/api/map/colours", map=state["map"], by="genres").content, np.uint8)
    (found,) = ask(running, "/api/map/search", text="film 300").json()
    assert found["item_id"] == "300"
    np.testing.assert_allclose(places[found["point"]], [found["x"], found["y"]])
    assert labels[levels[found["point"]] - 2] == running.world.items[299].attributes["genres"][0]  # type: ignore[index]
    assert ask(running, "/api/map/item", map=state["map"], point=found["point"]).json()["item_id"] == "300"
    (odd,) = ask(running, "/api/map/search", text=ODD).json()
    anomaly = np.frombuffer(ask(running, "/api/map/colours", map=state["map"], by="anomaly score").content, np.uint8)
    assert anomaly[odd["point"]] == anomaly.max()


def test_dead_letters_with_reason_and_command(running: Running) -> None:
    found = ask(running, "/api/dead-letters").json()
    (letter,) = found["letters"]
    assert letter["reason"] == "InvalidEvent"
    assert letter["value_start"] == BAD_VALUE.decode()
    assert found["replay_reason"]["InvalidEvent"] == "latentstream dead-letters replay --all --reason InvalidEvent"


def test_models_say_which_is_current(running: Running) -> None:
    found = ask(running, "/api/models").json()
    (version,) = (one for one in found["versions"] if one["version"] == running.version)
    assert (version["state"], version["codec"], version["interaction"]) == ("current", "int8", "multvae")
    assert version["metrics"]["content_validation_error"] > 0


def test_stream_of_what_flows(running: Running) -> None:
    samples = []
    with httpx.stream("GET", f"{running.base}/api/live", timeout=20) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        for line in reply.iter_lines():
            if line.startswith("data: "):
                samples.append(json.loads(line.removeprefix("data: ")))
            if len(samples) == 3:
                break
    newest = samples[-1]
    assert newest["problems"] == []
    assert newest["items"]["stored"] == len(running.world.items) + 2
    assert newest["interactions"]["lag"] == 0
    assert (newest["dead_letters"], newest["version"]) == (1, running.version)
