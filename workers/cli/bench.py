"""``latentstream bench``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer
from rich.console import Console

from schemas.model_settings import InteractionKind
from workers.cli import terminal
from workers.cli.bench_growth import growth
from workers.cli.bench_index import index
from workers.cli.bench_pipeline import pipeline
from workers.cli.bench_query import query
from workers.cli.errors import CommandFailed

if TYPE_CHECKING:
    from workers.bench.footprint import Footprint
    from workers.bench.freshness import Freshness

app = typer.Typer(
    help="Measure how fast it is, how fresh and how small, beside its parts alone and what others use.",
    no_args_is_help=True,
)
for _command in (pipeline, query, index, growth):
    app.command()(_command)


@app.command()
def freshness(
    seconds: Annotated[float, typer.Option(min=10, help="How long the measured load lasts.")] = 60.0,
    rate: Annotated[float, typer.Option(min=1, max=10_000, help="Interactions a second.")] = 200.0,
    queries: Annotated[float, typer.Option(min=0, max=100_000, help="On-demand queries a second beside them.")] = 0.0,
    shares: Annotated[str, typer.Option(help="Percentages of the highest rate to measure at, such as 10,50,80.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Measure how old recommendations are, on real Kafka, Redis and workers.

    Starts the local stack (unless the settings name addresses), an encoder and a recommender, with topics
    and keys of their own; trains on four fifths of MovieLens-100K, or on synthetic data of the same size
    where that cannot be had; then streams the rest at an even rate, with 10 new items a second beside it.

    event_to_recs_ms: from handing an interaction to the Kafka producer until the user's list in Redis,
    read every 4 ms, has an offset beyond it.

    item_to_index_ms: from handing a new item to the Kafka producer until the query `similar` for it is
    answered, asked every 10 ms.

    queries (with --queries): so many are sent a second, whatever comes back; ok_ms and busy_ms are the times until
    somebody among them who asks one after the other was answered, or told that all are busy.
    """
    from workers.bench.freshness import measure, measure_shares

    def say(line: str) -> None:
        terminal.say(line, stderr=True)

    if not shares:
        found = measure(seconds, rate, queries, say)
        if as_json:
            typer.echo(msgspec.json.encode(found))
        else:
            _show_freshness(found)
        return
    several = measure_shares(seconds, _numbers("--shares", shares), say)
    if as_json:
        typer.echo(msgspec.json.encode(several))
        return
    typer.echo(f"highest rate {several.highest_per_s:,.0f}/s; from a backlog {several.backlog.rate.median:,.0f}/s")
    for share in several.shares:
        typer.echo(f"at {share.percent:g} %:")
        _show_freshness(share.freshness)


def _show_freshness(found: Freshness) -> None:
    for name, summary in (("event to list", found.event_to_recs_ms), ("item to index", found.item_to_index_ms)):
        typer.echo(
            f"{name}: p50 {summary.p50:.0f} ms, p90 {summary.p90:.0f} ms, p99 {summary.p99:.0f} ms, "
            f"p99.9 {summary.p999:.0f} ms, longest {summary.max:.0f} ms "
            f"({summary.samples:,} measured, {summary.missing} missing)"
        )
    asked = found.queries
    for name, took in () if asked is None else (("answered", asked.ok_ms), ("told busy", asked.busy_ms)):
        if took is not None:
            typer.echo(f"{name}: p50 {took.p50:.0f} ms, p99 {took.p99:.0f} ms ({took.samples:,} measured)")
    typer.echo(f"at {found.interactions_per_s:g} interactions/s and {found.items_per_s:g} items/s, {found.data}")


@app.command()
def withdrawal(
    users: Annotated[int, typer.Option(min=1000, help="Users with finished lists.")] = 100_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Measure how soon an item that is unavailable has left the finished lists of all users.

    Starts the local stack (unless the settings name addresses), an encoder and a recommender, with topics and keys
    of their own, and fills the lists of users that do not exist. Then three items become unavailable, one after the
    other: one that some lists have, one that more have, and the one that most have. The time of the event is when the
    producer was handed it, that of a list when it was read without the item; the lists are read without a pause.
    """
    from workers.bench.withdrawal import measure

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    found = measure(users, lambda line: console.print(line, markup=False))
    if as_json:
        typer.echo(msgspec.json.encode(found))
        return
    for one in found.withdrawals:
        typer.echo(
            f"left out by readers after {one.left_out_s:.3f} s; gone from {one.lists:,} lists: "
            f"half after {one.half_s:.2f} s, 99% after {one.p99_s:.2f} s, "
            f"all after {one.all_s:.2f} s"
        )
    typer.echo(f"{found.users:,} users, {found.items:,} items, lists of {found.list_length}")


@app.command()
def swap(
    items: Annotated[int, typer.Option(min=1000, max=10_000_000, help="Items in the catalogue.")] = 1_000_000,
    users: Annotated[int, typer.Option(min=100, max=1_000_000, help="Users with lists.")] = 50_000,
    rate: Annotated[float, typer.Option(min=1, max=10_000, help="Interactions a second.")] = 200.0,
    seconds: Annotated[float, typer.Option(min=10, help="How long the usual latency is measured.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Measure what interactions wait for while another model takes the place of the current one, and memory.

    Starts the local stack (unless the settings name addresses), an encoder and a recommender, with topics and keys of
    their own, two models with random weights and a generated catalogue. First as it is without a change, then during
    a promotion until all lists are made by the other model, then during the rollback.
    """
    from workers.bench.swap import measure

    found = measure(items, users, rate, seconds, lambda line: terminal.say(line, stderr=True))
    if as_json:
        typer.echo(msgspec.json.encode(found))
        return
    usual = found.event_to_list_ms
    terminal.say(f"usually: event to list p50 {usual.p50:.0f} ms, p99 {usual.p99:.0f} ms")
    for name, change in (("promotion", found.promotion), ("rollback", found.rollback)):
        during = change.event_to_list_ms
        memory = ", ".join(f"{process} {ratio:g} times" for process, ratio in change.memory.items())
        terminal.say(
            f"{name}: all lists after {change.seconds:.0f} s; p50 {during.p50:.0f} ms, p99 {during.p99:.0f} ms, "
            f"{change.p99:g} times the usual; highest memory: {memory}"
        )
    terminal.say(f"{found.items:,} items, {found.users:,} users, {found.interactions_per_s:g} interactions/s")


@app.command()
def training(
    kind: Annotated[InteractionKind, typer.Option(help="Kind of interaction autoencoder.")] = "contrastive",
    dim: Annotated[int, typer.Option(min=2, max=1024, help="Width of the user code.")] = 64,
    items: Annotated[str, typer.Option(help="Sizes of the catalogue.")] = "10000,100000,1000000",
    batches: Annotated[str, typer.Option(help="Users in a step.")] = "256,1024",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Measure the time and the peak memory of a training step, for each catalogue with each batch.

    Histories are random and have 40 items. The last column is what one number for each user of the batch and each item
    would take: from one batch to a larger one, memory must grow by less than that does. Of the kind recvae it is a step
    of the encoder.
    """
    from workers.bench.training import measure

    sizes, users = _numbers("--items", items), _numbers("--batches", batches)
    try:
        found = measure(kind, dim, sizes, users, lambda line: terminal.say(line, stderr=True))
    except MemoryError as error:
        raise CommandFailed(f"{error}: try smaller --items or --batches") from error
    if as_json:
        typer.echo(msgspec.json.encode(found))
        return
    headings = ("items", "users a step", "seconds", "memory", "users x items")
    rows = [
        (
            f"{step.items:,}",
            f"{step.batch:,}",
            f"{step.seconds:.3f}",
            f"{step.memory_mb:,.0f} MB",
            f"{step.product_mb:,.0f} MB",
        )
        for step in found.steps
    ]
    terminal.console().print(terminal.table(headings, rows, right=headings))


def _numbers(option: str, text: str) -> list[int]:
    """Return the positive numbers of a comma-separated list."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter("give positive whole numbers, such as 1000,2000", param_hint=option)
    return [int(part) for part in parts]


@app.command()
def footprint(
    items: Annotated[int, typer.Option(min=1, max=100_000_000, help="Items to store in each way.")] = 200_000,
    ids: Annotated[Literal["decimal", "text"], typer.Option(help="Ids like 4711, or of 11 characters.")] = "decimal",
    code_bytes: Annotated[int, typer.Option(min=1, max=4096, help="Length of a code.")] = 32,
    dim: Annotated[int, typer.Option(min=1, max=32_768, help="Width of the vectors in the vector sets.")] = 64,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Measure what an item takes in Redis: in our layout, as a plain key, and in Redis' vector sets.

    Starts a Redis server of its own, without persistence, and fills it in one way after the other with the
    same ids. An item's bytes are the growth of `used_memory`, everything included: keys, buckets, positions.
    Our layout is written as the encoder writes it, batch by batch in 4 partitions, without attributes. The
    codes are random, so that nothing can profit from what they have in common.

    The change log holds the latest events and shrinks to nothing when none come: it is shown by itself, and
    counts for our layout in that idle state. What the server notes about slow commands and what its Lua
    interpreter holds is not counted; it does not grow with the items.

    A server older than Redis 8 has no vector sets: their figures are then missing (null), which is no failure.
    """
    from workers.bench.footprint import measure

    found = measure(items, ids, code_bytes, dim, terminal.watch)
    if as_json:
        typer.echo(msgspec.json.encode(found))
    else:
        _show_footprint(found)


def _show_footprint(found: Footprint) -> None:
    layout, log = found.layout, found.layout.change_log
    ways = [("our layout", layout.bytes_per_item, layout.items_per_s, layout.what)] + [
        (name, way.bytes_per_item, way.items_per_s, way.missing or way.what)
        for name, way in (
            ("plain keys", found.plain_keys),
            ("vector set, Q8", found.vector_set_q8),
            ("vector set, BIN", found.vector_set_bin),
        )
    ]
    rows = [
        (
            name,
            "" if size is None else f"{size:.1f}",
            "" if size is None else f"{size / layout.bytes_per_item:.1f}",
            "" if rate is None else f"{rate:,.0f}",
            what,
        )
        for name, size, rate, what in ways
    ]
    headings = ("", "bytes an item", "times ours", "items/s", "what")
    terminal.console().print(terminal.table(headings, rows, right=headings[1:4]))
    terminal.say(
        f"{found.items:,} items with codes of {found.code_bytes} bytes; ids {found.ids}; "
        f"Redis {found.redis}, {found.allocator}\n"
        f"{layout.buckets:,} buckets of {layout.items_per_bucket:g} items, at most {layout.largest_bucket}; "
        f"encoding: {', '.join(layout.encodings)}\n"
        f"change log: {log.bytes_per_item:.1f} bytes an item right after the last one (then "
        f"{layout.bytes_per_item_with_full_log:.1f} with it), {log.idle_bytes_per_item:.1f} when idle (counted "
        f"above), and never more than {terminal.size(log.largest_bytes)} in all\n"
        f"Lua interpreter: {terminal.size(layout.interpreter_bytes)} after the last write (not counted)"
    )
