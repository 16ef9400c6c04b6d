"""What the workers say of themselves on ``/metrics``, where the settings have their addresses."""

from __future__ import annotations

import http.client
import time
from collections import defaultdict
from typing import Final

import msgspec
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from workers.background import Background

EVERY_S: Final = 5.0
_UNSEEN_AFTER_S: Final = 15.0
_TIMEOUT_S: Final = 2.0
_LARGEST: Final = 4 << 20
_PREFIX: Final = "latentstream_"


class Figure(msgspec.Struct, frozen=True):
    """One number. Of a histogram it is the mean since the worker was started."""

    name: str
    of: str
    value: float


class Worker(msgspec.Struct, frozen=True):
    """What one worker has said last, or why it has not."""

    address: str
    figures: list[Figure]
    problem: str = ""


class Scrapes(Background):
    """Asks the workers, every few seconds while somebody looks."""

    def __init__(self, addresses: list[str]) -> None:
        super().__init__("scrapes")
        self._addresses = addresses
        self._workers: list[Worker] = []
        self._seen_at = -_UNSEEN_AFTER_S

    def workers(self) -> list[Worker] | None:
        """Return what the workers have said last, None where no address is known; the caller looks from now on."""
        self._seen_at = time.monotonic()
        return self._workers if self._addresses else None

    def loop(self) -> None:
        """Ask while somebody looks."""
        while self._addresses and not self.stopping.wait(EVERY_S if self._workers else EVERY_S / 20):
            if time.monotonic() - self._seen_at < _UNSEEN_AFTER_S:
                self._workers = [_scraped(address) for address in self._addresses]


def _scraped(address: str) -> Worker:
    connection = http.client.HTTPConnection(address, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        reply = connection.getresponse()
        text = reply.read(_LARGEST).decode()
        if reply.status != http.client.OK:
            return Worker(address, [], f"it answered {reply.status}")
        return Worker(address, figures(text))
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Worker(address, [], str(error) or type(error).__name__)
    finally:
        connection.close()


def figures(text: str) -> list[Figure]:
    """Return our own metrics in what Prometheus would read.

    Raises:
        ValueError: it is nothing that Prometheus could read.
    """
    found: list[Figure] = []
    for family in text_string_to_metric_families(text):
        if family.name.startswith(_PREFIX):
            found += _means(family) if family.type == "histogram" else _values(family)
    return found


def _values(family: Metric) -> list[Figure]:
    return [
        Figure(_short(family.name), _labels(sample.labels), sample.value)
        for sample in family.samples
        if not sample.name.endswith("_created")
    ]


def _means(family: Metric) -> list[Figure]:
    sums: dict[str, dict[str, float]] = defaultdict(dict)
    for sample in family.samples:
        part = sample.name.removeprefix(family.name)
        if part in ("_sum", "_count"):
            sums[_labels(sample.labels)][part] = sample.value
    return [
        Figure(f"{_short(family.name)}, mean", labels, parts["_sum"] / parts["_count"])
        for labels, parts in sums.items()
        if parts.get("_count") and "_sum" in parts
    ]


def _short(name: str) -> str:
    return name.removeprefix(_PREFIX).replace("_", " ")


def _labels(labels: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in labels.items())
