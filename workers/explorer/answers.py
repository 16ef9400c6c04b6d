"""What requests say, and what is answered: parameters that are checked, and answers that pages share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.events import MAX_ID_LENGTH
from workers.refusals import denial

_Value = TypeVar("_Value")


class BadRequest(Exception):  # noqa: N818
    """A request whose parameters are wrong; the message says which."""


class NotFound(Exception):  # noqa: N818
    """What is asked for is not there; the message says why."""


class Kept:
    """Answers that all pages share: each is made by one of those who ask, and serves the others for a while.

    What was raised instead is raised to the others as well.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._kept: dict[str, tuple[float, Any]] = {}

    def get(self, name: str, seconds: float, make: Callable[[], _Value]) -> _Value:
        """Return what ``make`` has returned, at most ``seconds`` ago."""
        with self._lock:
            own = self._locks.setdefault(name, threading.Lock())
        with own:
            kept = self._kept.get(name)
            if kept is None or time.monotonic() - kept[0] > seconds:
                kept = self._kept[name] = _made(make)
            if isinstance(kept[1], Exception):
                raise kept[1]
            value: _Value = kept[1]
            return value


def _made(make: Callable[[], Any]) -> tuple[float, Any]:
    """Return when ``make`` ended, and what it returned or raised."""
    try:
        made = make()
    except Exception as error:  # noqa: BLE001 - whoever asks gets it
        made = error
    return time.monotonic(), made


def as_json(value: Any, status: int = 200) -> Response:
    """Answer with ``value`` as JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def as_binary(data: bytes) -> Response:
    """Answer with ``data``."""
    return Response(data, media_type="application/octet-stream")


def refused(status: int) -> Callable[[Request, Exception], Response]:
    """Return what answers an exception with ``status``."""

    def handle(request: Request, error: Exception) -> Response:  # noqa: ARG001
        return as_json({"problem": denial(error) or str(error)}, status)

    return handle


def identifier(request: Request) -> str:
    """Return the id of an item or a user that is asked for.

    Raises:
        BadRequest: it is none.
    """
    text = request.query_params.get("id", "")
    if not 1 <= len(text) <= MAX_ID_LENGTH:
        raise BadRequest(f"`id` must have 1 to {MAX_ID_LENGTH} characters")
    return text


def drawn(request: Request) -> str:
    """Return which drawing of the map is meant."""
    return request.query_params.get("map", "")


def number(request: Request, name: str, low: int, high: int) -> int:
    """Return a number that is asked for, ``low`` where none is.

    Raises:
        BadRequest: it is none from ``low`` to ``high``.
    """
    text = request.query_params.get(name, str(low))
    if not (text.isascii() and text.isdigit() and len(text) < 12 and low <= int(text) <= high):
        raise BadRequest(f"`{name}` must be a number from {low} to {high}")
    return int(text)
