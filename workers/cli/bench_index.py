"""``latentstream bench index``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from workers.cli import terminal

if TYPE_CHECKING:
    from workers.bench.index_kinds import Size


def index(
    sizes: Annotated[str, typer.Option(help="Numbers of vectors.")] = "10000,100000,390000",
    dim: Annotated[int, typer.Option(min=1, max=4096, help="Width; GloVe has 50, others are generated.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Compare kinds of indexes on the host, and measure ours while it is filled and rebuilt.

    The vectors are those of GloVe, scaled to length 1, or generated ones where that cannot be had; some are held out as
    queries. Each kind looks as hard as it must for a recall@10 of .993 on one half of them; shown is the other half.
    """
    from workers.bench.index_kinds import measure

    parts = sizes.split(",")
    if not all(part.strip().isdecimal() and int(part) >= 1_000 for part in parts):
        raise typer.BadParameter("give whole numbers of at least 1000, such as 10000,100000", param_hint="--sizes")
    found = measure([int(part) for part in parts], dim, lambda line: terminal.say(line, stderr=True))
    if as_json:
        typer.echo(msgspec.json.encode(found))
        return
    for size in found.sizes:
        _show(size)
    terminal.say(f"{found.data}, {found.dim} dimensions")


def _show(size: Size) -> None:
    headings = ("", "setting", "built in", "bytes a vector", "recall@10", "recall@100", "1 a call", "64", "1,024")
    rows = [
        (
            kind.name,
            kind.setting,
            f"{kind.build_s:.1f} s",
            f"{kind.bytes_a_vector:.0f}",
            f"{kind.recall_at_10:.4f}",
            f"{kind.recall_at_100:.4f}",
            *(f"{rate.median:,.0f}/s" for rate in kind.rates),
        )
        for kind in size.kinds
    ]
    terminal.console().print(terminal.table(headings, rows, right=headings[2:]))
    ours = size.ours
    terminal.say(
        f"our index, {size.vectors:,} vectors: {ours.chosen}; {ours.upserts_per_s:,.0f} upserts/s, settled "
        f"{ours.settled_s:.1f} s later\none query, p99: {ours.idle_p99_ms:.2f} ms, during a rebuild of "
        f"{ours.rebuild_s:.1f} s {ours.rebuild_p99_ms:.2f} ms ({ours.p99_ratio:.2f} times, "
        f"{ours.p99_ratio_spread[0]:.2f} to {ours.p99_ratio_spread[1]:.2f})\n"
    )
