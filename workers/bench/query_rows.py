"""What ``latentstream bench query`` says: a row for each number of clients, and how the rows compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final, Generic, TypeVar

import msgspec

from workers.bench.resp_load import LoadGenerator, Run, Traffic

GOOD_RECALL: Final = 0.99


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What so many clients were given, each with one request under way: medians of the repetitions.

    Spreads are the least and the greatest. ``failed`` counts answers of all repetitions that were errors or "busy".
    ``client_cpu`` is the share of a core that the load itself took.
    """

    clients: int
    qps: float
    qps_spread: tuple[float, float]
    p50_ms: float
    p99_ms: float
    p99_spread_ms: tuple[float, float]
    failed: int
    client_cpu: float


class Answers(Row, frozen=True, kw_only=True):
    """Queries for 10 items; ``recall_at_100`` is that of the same queries for 100."""

    recall_at_10: float = msgspec.field(name="recall@10")
    recall_at_100: float = msgspec.field(name="recall@100")


class PeerAnswers(Answers, frozen=True, kw_only=True):
    """The same of a vector set: see :class:`workers.bench.vector_set.VectorSet`."""

    quantization: str
    m: int
    ef: int

    @property
    def name(self) -> str:
        """How it was built and asked."""
        return f"{self.quantization} M {self.m} EF {self.ef}"


class Filtered(Row, frozen=True, kw_only=True):
    """Queries for 10 of the items that match, 1% of all; ``filters`` is how many filters the queries take in turn."""

    filters: int
    recall_at_10: float = msgspec.field(name="recall@10")


class Read(Row, frozen=True, kw_only=True):
    """GETs of values of so many bytes, the median."""

    bytes: int


class Against(msgspec.Struct, frozen=True):
    """Ours over the peer's with as many clients: queries a second, and p99 (no worse is at most 1)."""

    clients: int
    peer: str
    qps: float
    p99: float


class Ratios(msgspec.Struct, frozen=True, kw_only=True):
    """How ours compare.

    Of the vector set's settings the fastest counts that finds .99 of the 10 nearest (``good_recall_at_10``; none may),
    as many of the 10 nearest as any does (``best_recall_at_10``), or of the 100 (``best_recall_at_100``). ``filtered``:
    queries a second over unfiltered ones, by the number of filters and of clients. ``reads``: GETs of lists over bare
    GETs, by the number of clients.
    """

    good_recall_at_10: list[Against] = msgspec.field(name="good_recall@10")
    best_recall_at_10: list[Against] = msgspec.field(name="best_recall@10")
    best_recall_at_100: list[Against] = msgspec.field(name="best_recall@100")
    filtered: dict[int, dict[int, float]]
    reads: dict[int, float]


Kind = TypeVar("Kind", bound=Row)


@dataclass(slots=True)
class Contender(Generic[Kind]):
    """Traffic of so many clients, and its runs so far; ``made`` makes its row, with ``known`` beside the figures."""

    made: Callable[..., Kind]
    traffic: Traffic
    clients: int
    known: dict[str, Any]
    runs: list[Run] = field(default_factory=list)

    def run(self, load: LoadGenerator, seconds: float) -> None:
        """Run once more."""
        self.runs.append(load.run(self.traffic, self.clients, seconds))

    def row(self) -> Kind:
        """Return what was measured."""
        rates, p99s = [run.qps for run in self.runs], [run.p99_ms for run in self.runs]
        return self.made(
            clients=self.clients,
            qps=round(median(rates), 1),
            qps_spread=(round(min(rates), 1), round(max(rates), 1)),
            p50_ms=round(median(run.p50_ms for run in self.runs), 3),
            p99_ms=round(median(p99s), 3),
            p99_spread_ms=(round(min(p99s), 3), round(max(p99s), 3)),
            failed=sum(run.failed for run in self.runs),
            client_cpu=round(median(run.client_cpu for run in self.runs), 2),
            **self.known,
        )


def ratios(
    ours: Sequence[Answers],
    peers: Sequence[PeerAnswers],
    filtered: Sequence[Filtered],
    lists: Sequence[Read],
    plain: Sequence[Read],
) -> Ratios:
    """Compare rows of as many clients."""
    unfiltered = {row.clients: row.qps for row in ours}
    by_filters: dict[int, dict[int, float]] = {}
    for row in filtered:
        by_filters.setdefault(row.filters, {})[row.clients] = round(row.qps / unfiltered[row.clients], 3)
    bare = {row.clients: row.qps for row in plain}
    best_at_10 = max((row.recall_at_10 for row in peers), default=0.0)
    best_at_100 = max((row.recall_at_100 for row in peers), default=0.0)
    return Ratios(
        good_recall_at_10=_against(ours, [row for row in peers if row.recall_at_10 >= GOOD_RECALL]),
        best_recall_at_10=_against(ours, [row for row in peers if row.recall_at_10 == best_at_10]),
        best_recall_at_100=_against(ours, [row for row in peers if row.recall_at_100 == best_at_100]),
        filtered=by_filters,
        reads={row.clients: round(row.qps / bare[row.clients], 3) for row in lists},
    )


def _against(ours: Sequence[Answers], peers: Sequence[PeerAnswers]) -> list[Against]:
    """Compare each of ``ours`` with the fastest of ``peers`` that has as many clients."""
    found = []
    for row in ours:
        same = [peer for peer in peers if peer.clients == row.clients]
        if same:
            peer = max(same, key=lambda one: one.qps)
            found.append(
                Against(row.clients, peer.name, round(row.qps / peer.qps, 2), round(row.p99_ms / peer.p99_ms, 2))
            )
    return found
