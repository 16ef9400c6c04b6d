"""``latentstream bench growth``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from workers.cli import terminal

if TYPE_CHECKING:
    from workers.bench.growth import Point

_HEADINGS = (
    "items",
    "users",
    "history",
    "CPU ms",
    "ms",
    "load s",
    "Redis bytes an item",
    "memory an item",
    "Redis bytes a user",
)


def growth(
    space: Annotated[
        Literal["content", "interactions"], typer.Option(help="What ranks: content latents, or users and a bridge.")
    ] = "content",
    items: Annotated[str, typer.Option(help="Sizes of the catalogue.")] = "10000,100000,1000000",
    users: Annotated[str, typer.Option(help="Numbers of users.")] = "10000,100000,1000000",
    histories: Annotated[str, typer.Option(help="Interactions in each history, up to 500.")] = "10,100,500",
    plot: Annotated[Path, typer.Option(help="Where the picture goes.", dir_okay=False)] = Path("growth.png"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Measure what an interaction costs, and what is kept of an item and a user, by the sizes of a system.

    One size grows while the others stay at 10,000 items and 10,000 users with histories of 10. Codes are random and
    have 32 bytes. A Redis server of its own is started for each point. Ten million items need 20 GB and half an hour:
    --items 10000,10000000.

    The cost is the median of nine steps of the recommender over 256 interactions each, CPU seconds of the process and
    seconds with Redis beside it; for an interaction, in milliseconds. Without Kafka.

    Ends with 1, and says what, where something grew more than it may: the cost of an interaction twice with the items
    or the users, memory and Redis' bytes of an item not at all, what is kept of a user with the history only.
    """
    from workers.bench.growth import measure
    from workers.bench.growth_plot import draw_growth

    counts, people, lengths = _numbers("items", items), _numbers("users", users), _numbers("histories", histories)
    found = measure(space, counts, people, lengths, lambda line: terminal.say(line, stderr=True))
    draw_growth(found, plot)
    terminal.say(f"drawn to {plot}", stderr=True)
    if as_json:
        typer.echo(msgspec.json.encode(found))
    else:
        for points in (found.items, found.users, found.histories):
            terminal.console().print(terminal.table(_HEADINGS, _rows(points), right=_HEADINGS))
    for sentence in found.broken:
        terminal.say(sentence, stderr=True)
    if found.broken:
        raise typer.Exit(1)


def _rows(points: Sequence[Point]) -> list[tuple[str, ...]]:
    return [
        (
            f"{point.items:,}",
            f"{point.users:,}",
            f"{point.history:,}",
            f"{point.cpu_ms.median:.3f}",
            f"{point.wall_ms.median:.3f} ({point.wall_ms.lowest:.3f} to {point.wall_ms.highest:.3f})",
            f"{point.load_s:.1f}",
            f"{point.redis_bytes_per_item:.1f}",
            f"{point.memory_bytes_per_item:,.0f}",
            f"{point.redis_bytes_per_user:,.0f}",
        )
        for point in points
    ]


def _numbers(name: str, text: str) -> list[int]:
    """Return the ascending positive numbers of a comma-separated list."""
    parts = text.split(",")
    numbers = [int(part) for part in parts if part.strip().isdecimal()]
    if len(numbers) < len(parts) or sorted({*numbers, 0})[1:] != numbers:
        raise typer.BadParameter("give ascending whole numbers, such as 10000,100000", param_hint=f"--{name}")
    return numbers
