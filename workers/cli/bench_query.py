"""``latentstream bench query``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from workers.cli import terminal

if TYPE_CHECKING:
    from workers.bench.query import Result
    from workers.bench.query_rows import Row


def query(
    items: Annotated[int, typer.Option(min=2000, max=400_000, help="Vectors, the most frequent words.")] = 400_000,
    seconds: Annotated[float, typer.Option(min=0.05, max=60, help="Length of each repetition of each row.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Measure on-demand queries beside Redis' own vector set, filtered ones, and reads of finished lists.

    Starts a Redis server of its own, the local stack's Kafka (unless the settings name one) and a recommender, and
    stores the vectors of GloVe's words as items, as an encoder does. Their neighbours are asked for by 1, 16 and 64
    clients, each of which asks again when it has its answer: ours by the query `similar` and its reply, those of the
    vector set by VSIM with one EF after the other.

    Recall is against an exact search. A filter matches 1% of the items; queries have all the same one, or one of 100.
    Redis fills its vector sets slowly: 400,000 vectors take some 15 minutes on two cores.
    """
    from workers.bench.query import measure

    found = measure(items, seconds, lambda line: terminal.say(line, stderr=True), terminal.watch)
    if as_json:
        typer.echo(msgspec.json.encode(found))
    else:
        show(found)


def show(found: Result) -> None:
    """Print what was measured for people."""
    headings = ("", "clients", "a second", "from", "to", "p50 ms", "p99 ms", "recall@10", "recall@100")
    rows = [("ours", *_figures(row), f"{row.recall_at_10:.4f}", f"{row.recall_at_100:.4f}") for row in found.ours]
    rows += [
        (f"vector set {row.name}", *_figures(row), f"{row.recall_at_10:.4f}", f"{row.recall_at_100:.4f}")
        for row in found.redis_vector_set
    ]
    rows += [
        (f"ours, 1% match, filters: {row.filters}", *_figures(row), f"{row.recall_at_10:.4f}", "")
        for row in found.filtered
    ]
    rows += [(f"GET of a list, {row.bytes:,} bytes", *_figures(row), "", "") for row in found.reads.lists]
    rows += [(f"GET of a string, {row.bytes:,} bytes", *_figures(row), "", "") for row in found.reads.plain]
    terminal.console().print(terminal.table(headings, rows, right=headings[1:]))
    ratios = found.ratios
    for what, against in (
        ("a recall@10 of .99", ratios.good_recall_at_10),
        ("its best recall@10", ratios.best_recall_at_10),
        ("its best recall@100", ratios.best_recall_at_100),
    ):
        for one in against:
            terminal.say(
                f"clients: {one.clients}; ours has {one.qps:g} times the queries of the vector set at {what} "
                f"({one.peer}) and {one.p99:g} times its p99"
            )
    for filters, shares in ratios.filtered.items():
        parts = ", ".join(f"{share:g} with {clients} clients" for clients, share in shares.items())
        terminal.say(f"filtered over unfiltered queries, filters: {filters}; {parts}")
    parts = ", ".join(f"{share:g} with {clients} clients" for clients, share in ratios.reads.items())
    terminal.say(f"reads of lists over bare GETs: {parts}")
    terminal.say(
        found.missing
        or f"{found.items:,} items of {found.dim} dimensions, {found.repetitions} repetitions of {found.seconds:g} s, "
        f"Redis {found.redis}, {found.cores} cores"
    )


def _figures(row: Row) -> tuple[str, ...]:
    low, high = row.qps_spread
    return str(row.clients), f"{row.qps:,.0f}", f"{low:,.0f}", f"{high:,.0f}", f"{row.p50_ms:.2f}", f"{row.p99_ms:.2f}"
