"""A thread whose unexpected end is noticed."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """Runs ``work`` once on a daemon thread; what it raises is raised again by :meth:`check`."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def check(self) -> None:
        """Raise what ended the work, if anything did: the process must not look healthy without it."""
        if self._error is not None:
            raise self._error

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the work, if it was started."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - it is raised again, on the main thread
            self._error = error
