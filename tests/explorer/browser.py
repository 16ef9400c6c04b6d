"""A real Chromium without a window, and the explorer as people start it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from schemas.settings import Settings
from tests.processes import REPOSITORY, environment

DEADLINE_S: Final = 20.0
_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
_FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    # WebGL where there is no graphics card, too. To compose the page by it as well would be far slower.
    "--enable-unsafe-swiftshader",
)


class Page(Chrome):
    """A browser that knows where the explorer is, and what the page has complained of."""

    base = ""

    def show(self, address: str) -> None:
        """Open an address of the explorer."""
        self.get(self.base + address)

    def all(self, selector: str) -> list[str]:
        """Return the texts of all elements that match; read at once, because a live page changes meanwhile."""
        script = "return Array.from(document.querySelectorAll(arguments[0]), (one) => one.textContent)"
        found: list[str] = self.execute_script(script, selector)
        return found

    def text(self) -> str:
        """Return what stands in the view."""
        return " ".join(self.all("main"))

    def click(self, selector: str, text: str = "") -> None:
        """Click on the first element that matches and has ``text`` in it."""
        script = """for (const one of document.querySelectorAll(arguments[0]))
            if (one.textContent.includes(arguments[1])) { one.click(); return true; } return false;"""
        assert self.execute_script(script, selector, text), f"no {selector} with {text!r} in {self.text()!r}"

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait until ``condition`` holds."""
        end = time.monotonic() + DEADLINE_S
        while not condition():
            if time.monotonic() > end:
                pytest.fail(f"not within {DEADLINE_S:.0f} s: {what}; the page has {self.text()!r}")
            time.sleep(0.05)

    def wait_for(self, text: str) -> None:
        """Wait until ``text`` stands in the view."""
        self.wait(lambda: text in self.text(), f"{text!r} is shown")

    def complaints(self) -> list[str]:
        """Return the errors on the console since the last call; refused by the policy is one."""
        entries: list[dict[str, Any]] = self.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def scheme(self, name: str) -> None:
        """Prefer light or dark."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def width(self, pixels: int) -> None:
        """Make the page so wide; a window has a least width."""
        size = {"width": pixels, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


@contextmanager
def browser() -> Iterator[Page]:
    """Run a Chromium. Where there is none a test is skipped, but in CI it fails."""
    binary = next(filter(None, map(shutil.which, _BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        why = "Chromium or its driver is missing: `make chromium` installs them, on Debian and as root"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    options = Options()
    options.binary_location = binary
    for flag in (*_FLAGS, "--window-size=1280,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    page = Page(options=options, service=Service(driver))
    try:
        yield page
    finally:
        page.quit()


@contextmanager
def explorer(settings: Settings) -> Iterator[str]:
    """Run ``latentstream explore`` on a free port, and give its address."""
    own = settings.model_copy(update={"explorer": settings.explorer.model_copy(update={"port": 0})})
    own.home.mkdir(parents=True, exist_ok=True)
    log = Path(own.home / f"explorer-{time.monotonic_ns()}.log")
    with log.open("wb") as output:
        command = [sys.executable, "-m", "workers", "explore"]
        process = subprocess.Popen(command, cwd=REPOSITORY, env=environment(own), stdout=output, stderr=output)
    try:
        end = time.monotonic() + DEADLINE_S
        while (found := re.search(r"http://\S+:\d+", log.read_text())) is None:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        yield found[0]
        process.terminate()
        assert process.wait(10) in (0, -15), log.read_text()
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.kill()
