"""A running system, by what the server answers and by what a real browser shows of it.

All in one file, so that one system serves all of it where files are divided among processes.
"""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import msgspec
import numpy as np
import pytest
import redis
from axe_core_python.selenium import Axe
from selenium.webdriver import ActionChains

from schemas.documents import Recommendations
from schemas.events import InteractionEvent
from schemas.keys import Keys
from tests.e2e.conftest import publish
from tests.explorer.browser import Page
from tests.explorer.conftest import BAD_VALUE, HOSTILE, HOSTILE_TITLE, ODD, Running
from workers.explorer.delays import Delays
from workers.explorer.live import Live
from workers.explorer.system import System
from workers.lookup import find_histories

VIEWS = ["/", "/user?id=42", "/item?id=5", "/map", "/dead-letters", "/models", "/experiments", "/user", "/item"]
SETTLED = {
    "/": "users with",
    "/user?id=42": "made by",
    "/item?id=5": "Cosine",
    "/map": "laid out",
    "/dead-letters": "InvalidEvent",
    "/models": "current",
    "/experiments": "None runs",
}


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
        ("/static/%2e%2e/app.py", {}, 404),
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
    before = held(running)
    for path in ("/api/map", "/api/models", "/api/experiment", "/api/dead-letters", "/api/workers"):
        ask(running, path)
    for path in ("/api/user", "/api/item", "/api/item/original"):
        ask(running, path, id="5")
    assert held(running) == before


def held(running: Running) -> tuple[set[object], object]:
    """Return the names of all keys, and how many questions were put to recommenders, which is how all ask."""
    prefix = running.settings.redis.prefix
    return set(running.redis.scan_iter(f"{prefix}:*")), running.redis.xlen(Keys(prefix).queries)


def test_redis_that_goes_away_in_the_middle_of_a_look_is_said(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And ends nothing: the next look is as if nothing had been."""
    live = Live(System(running.settings, running.redis))
    try:
        with monkeypatch.context() as broken:
            broken.setattr(Delays, "look", fails)
            assert live.sample().problems == ["Redis: gone"]
        assert live.sample().problems == []
    finally:
        live._disconnect()


def fails(_: Delays) -> None:
    raise redis.exceptions.ConnectionError("gone")


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
    (found,) = ask(running, "/api/map/search", map=state["map"], text="film 300").json()
    assert found["item_id"] == "300"
    np.testing.assert_allclose(places[found["point"]], [found["x"], found["y"]])
    assert labels[levels[found["point"]] - 2] == running.world.items[299].attributes["genres"][0]  # type: ignore[index]
    assert ask(running, "/api/map/item", map=state["map"], point=found["point"]).json()["item_id"] == "300"
    (odd,) = ask(running, "/api/map/search", map=state["map"], text=ODD).json()
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


def samples(running: Running, count: int) -> list[dict[str, Any]]:
    """Return the first samples of the stream."""
    found = []
    with httpx.stream("GET", f"{running.base}/api/live", timeout=20) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        for line in reply.iter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line.removeprefix("data: ")))
            if len(found) == count:
                break
    return found


def test_stream_of_what_flows(running: Running) -> None:
    newest = samples(running, 3)[-1]
    assert newest["problems"] == []
    assert newest["items"]["stored"] == len(running.world.items) + 2
    assert newest["interactions"]["lag"] == 0
    assert (newest["dead_letters"], newest["version"]) == (1, running.version)


def test_all_pages_share_what_is_read(running: Running) -> None:
    with ThreadPoolExecutor(8) as pages:
        seen = list(pages.map(lambda _: [one["at"] for one in samples(running, 5)], range(8)))
    assert len({at for page in seen for at in page}) < 8


def settle(page: Page, view: str) -> None:
    """Open a view and wait until it shows what it is for."""
    page.show(view)
    page.wait(lambda: page.all("main h1"), "the view has a heading")
    page.wait(lambda: SETTLED.get(view, "").lower() in page.text().lower(), f"{view} is filled")
    if view == "/map":
        page.wait(lambda: page.all("[data-ready]"), "the points are drawn")


def test_live_shows_counts_and_what_comes_in(page: Page, running: Running) -> None:
    settle(page, "/")
    page.wait_for(f"{len(running.world.items) + 2}")
    page.wait(lambda: "live" in page.all(".state"), "the stream stands")
    running.publish(InteractionEvent(user_id="live-viewer", item_id="7", kind="buy"))
    page.wait(lambda: "live-viewer" in page.all("tbody a"), "the event is shown")
    page.wait_for("median of the last")
    page.wait(lambda: len(page.all("details summary")) == 2, "both workers are listed")
    page.wait_for("event to list seconds, mean")
    assert "Connection refused" in page.all("details summary")[1]


def test_user_and_a_new_interaction_of_his(page: Page, running: Running) -> None:
    settle(page, "/user?id=42")
    before = page.all(".ranked a")
    assert before
    running.publish(InteractionEvent(user_id="42", item_id="300", kind="buy"))
    page.wait(lambda: "Film 300" in " ".join(page.all(".changes")), "the interaction is shown without a reload")
    page.wait(lambda: "Film 300" in page.all("table a")[:3], "it is the newest of the history")
    page.wait(lambda: page.all(".ranked a") != before, "the list is another one")
    page.click("button", "Explain the list")
    page.wait(lambda: page.all(".reasons a"), "reasons are shown")
    page.click("button", "The last one")
    page.wait_for("Rank now")
    page.click("nav.tabs a", "short")
    page.wait(lambda: len(page.all(".ranked li")) == 5, "the short profile has five items")
    assert "profile=short" in page.current_url


def test_item_and_the_way_to_its_neighbours(page: Page, running: Running) -> None:  # noqa: ARG001
    settle(page, "/item?id=5")
    page.wait_for("Mean squared difference")
    assert "Comedy" in page.text()
    assert len(page.find_elements("css selector", "svg.vector rect")) == 14
    neighbour = page.all("table a")[0]
    page.click("table a")
    page.wait(lambda: neighbour in " ".join(page.all("h1")), "the neighbour is shown")
    page.back()
    page.wait(lambda: "Film 5" in " ".join(page.all("h1")), "back at the item")
    page.show(f"/item?id={ODD}")
    page.wait(lambda: "anomaly" in page.all(".badge"), "it is marked")


def test_map_pan_colour_search_and_click(page: Page, running: Running) -> None:
    settle(page, "/map")
    assert page.all("[data-points]")
    count = page.execute_script("return document.querySelector('.map').dataset.points")
    assert int(count) == len(running.world.items) + 2
    legend = page.all(".scale li")
    page.execute_script(
        "const by = document.getElementById('by'); by.value = 'anomaly score';by.dispatchEvent(new Event('change'))"
    )
    page.wait(lambda: page.all(".scale li") != legend, "the legend is another one")
    page.execute_script("document.getElementById('text').value = 'Film 300'")
    page.click("form button", "Find")
    page.wait(lambda: page.all(".found a") == ["Film 300"], "it is found")
    mark = page.find_element("css selector", ".mark")
    box = page.find_element("css selector", ".map")
    before = mark.rect
    hand = ActionChains(page)
    hand.move_to_element_with_offset(box, -100, -50).click_and_hold().move_by_offset(60, 40).release().perform()
    moved = (mark.rect["x"] - before["x"], mark.rect["y"] - before["y"])
    assert moved == (pytest.approx(60, abs=1), pytest.approx(40, abs=1))
    # What is found lies in the middle, and by now beside it.
    hand.move_to_element_with_offset(box, 60, 40).pause(0.2).perform()
    page.wait(lambda: page.all(".told") == ["Film 300"], "what lies under the hand is named")
    hand.click().perform()
    page.wait(lambda: "Film 300" in " ".join(page.all("h1")), "the item is opened")


def test_dead_letters_models_and_experiments(page: Page, running: Running) -> None:
    settle(page, "/dead-letters")
    page.wait_for("InvalidEvent")
    page.click("nav.tabs a", "InvalidEvent")
    page.wait_for("latentstream dead-letters replay --all --reason InvalidEvent")
    settle(page, "/models")
    assert running.version in page.text()
    settle(page, "/experiments")
    page.wait_for("None runs")


def test_hostile_ids_and_titles_are_shown_as_text(page: Page, running: Running) -> None:
    page.show(f"/item?{urlencode({'id': HOSTILE})}")
    page.wait_for(HOSTILE_TITLE)
    page.wait_for("Mean squared difference")
    assert page.find_elements("css selector", "main img, main script") == []
    assert "\\u202e" in page.text()
    page.show(f"/user?{urlencode({'id': HOSTILE})}")
    page.wait_for("Never seen")
    running.publish(InteractionEvent(user_id=HOSTILE, item_id=HOSTILE, kind="<b>buy</b>"))
    page.wait_for("<b>buy</b>")
    page.click("table a", HOSTILE_TITLE)
    page.wait_for("Mean squared difference")
    assert quote(HOSTILE, safe="") in page.current_url.replace("+", "%20")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible_and_never_wider_than_the_screen(page: Page, running: Running, scheme: str) -> None:  # noqa: ARG001
    page.scheme(scheme)
    axe = Axe()
    for view in VIEWS:
        settle(page, view)
        found = axe.run(page)
        told = [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in found["violations"]]
        assert told == [], f"{view}, {scheme}"
        assert len(found["passes"]) > 10
        page.width(400)
        wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.execute_script(wide) == 0, view
        page.width(1280)


def test_views_stand_under_load(page: Page, running: Running) -> None:
    """Interactions all the time, while one goes from view to view."""
    done = threading.Event()
    sent: list[int] = []

    def load() -> None:
        while not done.is_set():
            some = [len(sent) + place for place in range(100)]
            publish(running.settings, [InteractionEvent(str(one % 200 + 1), str(one % 299 + 1)) for one in some])
            sent.extend(some)

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    try:
        for view in VIEWS:
            settle(page, view)
    finally:
        done.set()
        thread.join(30)
    assert len(sent) > 500
