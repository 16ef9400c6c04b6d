"""Lists of items as the command line shows them: tables for people, JSON for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from schemas.documents import Reasons
from schemas.keys import Keys
from schemas.settings import Settings
from workers.cli import terminal

if TYPE_CHECKING:
    import redis


class Shown(msgspec.Struct, frozen=True):
    """A list as it is shown: where it is from, its model, and the items, best first.

    ``because`` and ``biases`` are as in :class:`schemas.documents.Recommendations`, or empty.
    """

    about: str
    source: str
    model: str
    items: list[str]
    scores: list[float]
    because: list[Reasons] = []
    biases: list[float] = []


def show(client: redis.Redis, settings: Settings, shown: Shown, *, as_json: bool) -> None:
    """Print a list, with the titles that its items have in Redis."""
    from workers.cli.stored_items import StoredItems

    reasons = [item for reasons in shown.because for item, _ in reasons]
    titles = StoredItems(client, Keys(settings.redis.prefix)).titles(list(dict.fromkeys([*shown.items, *reasons])))
    if as_json:
        terminal.print_json(as_document(shown, titles))
        return
    terminal.say(terminal.printable(f"{shown.about} (model {shown.model})"), "dim")
    if not shown.items:
        terminal.say("No items: nothing that the list may have is published, or all of it is known already.")
        return
    terminal.console().print(items_table(shown.items, shown.scores, titles, shown.because))


def items_table(
    items: Sequence[str], scores: Sequence[float], titles: dict[str, str], because: Sequence[Reasons] = ()
) -> Any:
    """Return ranked items as a table; titles and reasons have a column where there are any."""
    columns = {
        "": [str(rank) for rank in range(1, len(items) + 1)],
        "item": list(items),
        "title": [titles.get(item, "") for item in items] if titles else [],
        "score": [f"{score:.4g}" for score in scores],
        "because": [_because(reasons, titles) for reasons in because],
    }
    filled = {heading: cells for heading, cells in columns.items() if cells}
    return terminal.table(list(filled), zip(*filled.values(), strict=True), right=("", "score"))


def _because(reasons: Reasons, titles: dict[str, str]) -> str:
    return ", ".join(f"{titles.get(item, item)} ({added:+.2g})" for item, added in reasons)


def as_document(shown: Shown, titles: dict[str, str]) -> dict[str, Any]:
    """Return a list as a JSON object; ``title`` is null where an item has none."""
    items = items_document(shown.items, shown.scores, titles)
    for item, reasons in zip(items, shown.because, strict=False):
        item["because"] = [
            {"item_id": reason, "contribution": added, "title": titles.get(reason)} for reason, added in reasons
        ]
    for item, bias in zip(items, shown.biases, strict=False):
        item["bias"] = bias
    return {"source": shown.source, "model": shown.model, "items": items}


def items_document(items: Sequence[str], scores: Sequence[float], titles: dict[str, str]) -> list[dict[str, Any]]:
    """Return ranked items as JSON objects, best first."""
    return [
        {"item_id": item, "score": score, "title": titles.get(item)} for item, score in zip(items, scores, strict=True)
    ]
