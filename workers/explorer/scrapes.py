"""What the workers say of themselves on ``/metrics``, where the settings have their addresses.

A name may stand for any number of workers, such as that of a headless Service: all of its addresses are asked.
"""

from __future__ import annotations

import http.client
import socket
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Final

import msgspec
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from workers.background import Background

EVERY_S: Final = 5.0
_UNSEEN_AFTER_S: Final = 15.0
_TIMEOUT_S: Final = 2.0
# Those that do not answer must not keep the others waiting.
_AT_ONCE: Final = 16
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
        with ThreadPoolExecutor(_AT_ONCE, "scrape") as threads:
            while self._addresses and not self.stopping.wait(EVERY_S if self._workers else EVERY_S / 20):
                if time.monotonic() - self._seen_at < _UNSEEN_AFTER_S:
                    known = dict.fromkeys(place for address in self._addresses for place in places(address))
                    self._workers = list(threads.map(_scraped, known))


def places(address: str) -> Iterator[str]:
    """Yield ``address:port`` of each worker that a ``host:port`` stands for; as it is where its name is not known."""
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        yield address  # Asking it says what is wrong.
        return
    # A worker has an address of each family, and listens on the one of IPv4 at least.
    families = {family for family, *_ in found}
    wanted = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
    for family, *_, place in found:
        if family == wanted:
            yield f"[{place[0]!s}]:{port}" if family == socket.AF_INET6 else f"{place[0]!s}:{port}"


def _scraped(address: str) -> Worker:
    try:
        with closing(http.client.HTTPConnection(address, timeout=_TIMEOUT_S)) as connection:
            connection.request("GET", "/metrics")
            reply = connection.getresponse()
            text = reply.read(_LARGEST).decode()
            if reply.status != http.client.OK:
                return Worker(address, [], f"it answered {reply.status}")
            return Worker(address, figures(text))
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Worker(address, [], str(error) or type(error).__name__)


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
