"""What the libraries say in the logs of a worker."""

import io
import logging
import time

import pytest

from workers import logs


def test_what_a_library_repeats_is_shown_once_in_a_while_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    root, shown = logging.getLogger(), io.StringIO()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    logs.configure("INFO")
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(shown)
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def say(number: int) -> None:
        logging.getLogger("kafka").error("broker %d is away", number)

    for number in range(5):
        say(number)
    logging.getLogger("kafka").error("something else")
    now += logs.LIBRARY_LINE_S
    say(5)
    told = shown.getvalue().splitlines()
    assert len(told) == 3
    assert "broker 0 is away" in told[0]
    assert "something else" in told[1]
    assert "broker 5 is away (and 4 such lines before)" in told[2]
