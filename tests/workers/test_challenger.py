"""What becomes of the second encoder must not touch the first."""

from __future__ import annotations

import time

import redis
from structlog.testing import capture_logs

from models.bundle import Bundle, BundleError
from schemas.experiments import Experiment
from schemas.settings import Settings
from workers.challenger import Challenger

EXPERIMENT = Experiment("spring", "v1", "v2", 0.5)


def test_a_bundle_that_has_gone_is_said_and_the_first_encoder_goes_on() -> None:
    loads = []

    def load(experiment: Experiment) -> Bundle:
        loads.append(experiment.challenger)
        raise BundleError("there is no such bundle")

    # The bundle comes before any connection.
    challenger = Challenger(Settings(), redis.Redis(), load)
    with capture_logs() as said:
        deadline = time.monotonic() + 10
        while not any(entry["event"] == "challenger_failed" for entry in said):
            assert time.monotonic() < deadline, said
            challenger.follow(EXPERIMENT)
            time.sleep(0.01)
        challenger.follow(EXPERIMENT)
    challenger.close()

    failed = next(entry for entry in said if entry["event"] == "challenger_failed")
    assert (failed["challenger"], failed["reason"]) == ("v2", "there is no such bundle")
    # It is not tried again at once.
    assert loads == ["v2"]
