"""What is known of a lag while Redis does not answer."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from kafka import TopicPartition

from workers.lag import Lag


def test_events_that_were_polled_wait_though_nothing_came_of_the_poll() -> None:
    lag = Lag()
    polled: Any = {TopicPartition("items", 0): [SimpleNamespace(timestamp=1000 * (time.time() - 100), offset=4)]}
    lag.see({})
    assert lag.seconds() == 0
    lag.see(polled)
    assert 100 <= lag.seconds() < 160
    newer: Any = {TopicPartition("items", 1): [SimpleNamespace(timestamp=1000 * time.time(), offset=0)]}
    lag.see(newer)
    assert lag.seconds() >= 100
