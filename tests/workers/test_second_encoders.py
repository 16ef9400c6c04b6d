"""What becomes of a second encoder must not touch the first."""

from __future__ import annotations

import time
from typing import Any

import redis
from structlog.testing import capture_logs

from models.bundle import Bundle, BundleError
from schemas.settings import Settings
from workers.second_encoders import SecondEncoders


def test_a_bundle_that_has_gone_is_said_and_the_first_encoder_goes_on() -> None:
    loads = []

    def load(version: str) -> Bundle:
        loads.append(version)
        raise BundleError("there is no such bundle")

    # The bundle comes before any connection, and before the first encoder is looked at.
    unused: Any = None
    second = SecondEncoders(Settings(), redis.Redis(), load, unused, unused)
    with capture_logs() as said:
        deadline = time.monotonic() + 10
        while not any(entry["event"] == "second_encoder_failed" for entry in said):
            assert time.monotonic() < deadline, said
            second.follow({"v2"})
            time.sleep(0.01)
        second.follow({"v2"})
    second.close()

    failed = next(entry for entry in said if entry["event"] == "second_encoder_failed")
    assert (failed["version"], failed["reason"]) == ("v2", "there is no such bundle")
    # It is not tried again at once.
    assert loads == ["v2"]
