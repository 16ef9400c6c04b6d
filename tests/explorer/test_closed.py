"""An explorer that asks for its token, where no worker runs: models with a report, and an experiment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import redis

from schemas.experiments import Experiment
from schemas.keys import Keys
from schemas.settings import ExplorerSettings, Settings
from tests.explorer.browser import Page, browser, explorer

TOKEN: Final = "open-sesame-open-sesame"
EXPERIMENT: Final = "summer"
CHALLENGER: Final = "20260101T000000-00000000"
# What a report must never be able to do.
REPORT: Final = """<!doctype html><title>r</title><style>h1 { color: rgb(1, 2, 3) }</style><h1>The report</h1>
<script>document.querySelector("h1").textContent = "a script ran"</script>"""


@pytest.fixture
def closed(settings: Settings, redis_client: redis.Redis, trained: tuple[Path, str], tmp_path: Path) -> Iterator[str]:
    """Give the address of the explorer of a system that has a model, a report and an experiment."""
    registry, version = tmp_path / "models", trained[1]
    registry.mkdir()
    (registry / version).symlink_to(trained[0] / version)
    (registry / f"{version}-report.html").write_text(REPORT)
    keys = Keys(settings.redis.prefix)
    redis_client.hset(keys.model, "version", version)
    fields: Any = Experiment(EXPERIMENT, version, CHALLENGER, 0.25, "2026-01-01", "anna").fields()
    redis_client.hset(keys.experiment, mapping=fields)
    for group in range(40):
        for arm, hits in (("control", group % 2), ("challenger", 1)):
            counts = {"judged": 2, "hits": hits + 1, "hits@10": hits, "reciprocal_rank": 0.5 * hits, "list_age_s": 9}
            named: Any = {f"{arm}:default:{group}:{figure}": value for figure, value in counts.items()}
            redis_client.hset(keys.users(0).experiment(EXPERIMENT), mapping=named)
    update = {
        "model": settings.model.model_copy(update={"registry": registry}),
        "explorer": ExplorerSettings.model_validate({"token": TOKEN}),
    }
    with explorer(settings.model_copy(update=update)) as base:
        yield base


def test_log_in_models_with_their_report_and_an_experiment(closed: str, trained: tuple[Path, str]) -> None:
    version = trained[1]
    assert httpx.get(f"{closed}/api/models").status_code == 401
    opened = httpx.get(f"{closed}/api/models", headers={"authorization": f"Bearer {TOKEN}"}).json()
    states = {one["version"]: one["state"] for one in opened["versions"]}
    assert states == {version: "current", CHALLENGER: "challenger"}
    given = httpx.post(f"{closed}/login", data={"token": TOKEN}, headers={"origin": "https://explorer.example"})
    assert {"HttpOnly", "SameSite=strict", "Secure"} <= set(given.headers["set-cookie"].split("; "))
    with browser() as page:
        page.base = closed
        page.show("/experiments?from=a%26b")
        assert "/login" in page.current_url
        _give(page, "not the token")
        page.wait_for("not the token")
        _give(page, TOKEN)
        page.wait_for(EXPERIMENT)
        assert page.current_url == f"{closed}/experiments?from=a%26b"
        page.wait_for("0.25 (")
        page.wait_for("25 % of the users")
        assert page.execute_script("return document.cookie") == ""
        # The refused token is answered with 401, which a browser notes.
        assert [line for line in page.complaints() if "401" not in line] == []
        page.show(f"/models?version={version}")
        page.wait(lambda: page.find_elements("css selector", "iframe"), "the report is there")
        frame = page.find_element("css selector", "iframe")
        assert frame.get_attribute("sandbox") == ""
        page.execute_script("arguments[0].scrollIntoView()", frame)
        page.switch_to.frame(frame)
        heading = page.find_element("css selector", "h1")
        assert heading.text == "The report"
        assert heading.value_of_css_property("color") == "rgba(1, 2, 3, 1)"


def _give(page: Page, token: str) -> None:
    field = page.find_element("id", "token")
    field.send_keys(token)
    field.submit()
