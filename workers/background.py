"""A loop on a thread of its own whose unexpected end is noticed."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Final

CLOSE_TIMEOUT_S: Final = 5.0


class Background(ABC):
    """Runs :meth:`loop` until :meth:`close`; what it raises is raised again by :meth:`check`."""

    def __init__(self, name: str) -> None:
        self.stopping = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def loop(self) -> None:
        """Work until ``stopping`` is set."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def check(self) -> None:
        """Raise what ended the loop, if anything did: the process must not look healthy without it."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Let the loop end, and wait for it if it was started."""
        self.stopping.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        try:
            self.loop()
        except BaseException as error:  # noqa: BLE001 - it is raised again, on the main thread
            self._error = error
