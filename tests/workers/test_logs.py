"""What the libraries say in the logs of a worker."""

import io
import json
import logging
import sys
import time
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from workers import logs


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.usefixtures("_logging_as_before")
@pytest.mark.parametrize(
    ("stream", "form", "is_json"),
    [
        (io.StringIO, "auto", True),
        (_Terminal, "auto", False),
        (_Terminal, "json", True),
        (io.StringIO, "text", False),
    ],
)
def test_lines_are_json_where_that_is_set_or_nobody_looks(
    stream: type[io.StringIO],
    form: Literal["auto", "json", "text"],
    is_json: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = stream()
    monkeypatch.setattr(sys, "stderr", written)
    logs.configure("INFO", form)
    structlog.get_logger().info("ours", offset=7)
    logging.getLogger("kafka").error("a library's")
    ours, theirs = written.getvalue().splitlines()
    assert "ours" in ours
    assert "a library's" in theirs
    if is_json:
        assert json.loads(ours)["offset"] == 7
        assert json.loads(theirs)["level"] == "error"
    else:
        assert ("\x1b" in ours) == (stream is _Terminal), "colours are for terminals"
        with pytest.raises(json.JSONDecodeError):
            json.loads(ours)


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
