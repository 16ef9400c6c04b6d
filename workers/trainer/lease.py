"""Only one trainer at a time works: a key in Redis that expires, and is renewed as long as its owner lives."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Final

import redis
import structlog
from redis.exceptions import LockError

from schemas.keys import Keys

log = structlog.get_logger()

# So long after its owner died somebody else begins.
LEASE_S: Final = 60.0
_RENEW_S: Final = 10.0


class Lease:
    """The right to train, once :meth:`take` has given it. ``lease_s`` is how long it holds without being renewed."""

    def __init__(self, client: redis.Redis, keys: Keys, lease_s: float = LEASE_S, renew_s: float = _RENEW_S) -> None:
        # Renewed by a thread of its own, since a step of a training may take longer than the lease.
        self._lock = client.lock(keys.trainer, timeout=lease_s, blocking=False, thread_local=False)
        self._lease_s, self._renew_s = lease_s, renew_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._renewed_at = 0.0
        self._lost = False

    def take(self) -> bool:
        """Return whether nobody else has it, and then keep it."""
        self._renewed_at = time.monotonic()
        if not self._lock.acquire():
            return False
        self._thread.start()
        return True

    @property
    def lost(self) -> bool:
        """Whether somebody else may have it by now."""
        return self._lost or time.monotonic() - self._renewed_at > self._lease_s

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._thread.is_alive():
            return
        self._done.set()
        self._thread.join()
        try:
            self._lock.release()
        except (LockError, redis.RedisError) as reason:
            log.warning("lease_not_given_back", reason=str(reason))

    def _renew(self) -> None:
        while not self._done.wait(self._renew_s):
            begun = time.monotonic()
            try:
                self._lock.reacquire()
                self._renewed_at = begun
            except LockError:
                self._lost = True
                return
            except redis.RedisError as error:
                log.warning("lease_not_renewed", error=type(error).__name__, reason=str(error))
