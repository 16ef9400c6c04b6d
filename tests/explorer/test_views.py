"""Each view in a real browser, at a running system."""

from __future__ import annotations

import threading
from urllib.parse import quote, urlencode

import pytest
from axe_core_python.selenium import Axe
from selenium.webdriver import ActionChains

from schemas.events import InteractionEvent
from tests.explorer.browser import Page
from tests.explorer.conftest import HOSTILE, HOSTILE_TITLE, ODD, Running

VIEWS = ["/", "/user?id=42", "/item?id=5", "/map", "/dead-letters", "/models", "/experiments", "/user", "/item"]
SETTLED = {
    "/": "users with",
    "/user?id=42": "made by",
    "/item?id=5": "Cosine",
    "/map": "laid out",
    "/models": "current",
}


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
            number = len(sent)
            running.publish(InteractionEvent(user_id=str(number % 200 + 1), item_id=str(number % 299 + 1)))
            sent.append(number)

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    try:
        for view in VIEWS:
            settle(page, view)
    finally:
        done.set()
        thread.join(30)
    assert len(sent) > 20
