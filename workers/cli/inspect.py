"""``latentstream inspect``: all that is stored of an item, what its code decodes to, and its neighbours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from schemas.documents import QueryReply, QueryRequest, ReconstructQuery, SimilarQuery
from schemas.events import Attribute
from schemas.keys import Keys
from schemas.settings import Settings
from workers.cli import terminal
from workers.cli.errors import CommandFailed
from workers.cli.shown_lists import items_document, items_table

if TYPE_CHECKING:
    from workers.cli.stored_items import StoredItems
    from workers.lookup import StoredItem
    from workers.query_client import QueryClient

NEIGHBOURS: Final = 5
FIRST_VALUES: Final = 8
PICTURE_COLUMNS: Final = 32
# From black to white on a dark terminal.
_SHADES: Final = " .:-=+*#%@"


def inspect(
    item: Annotated[str, typer.Argument(help="Item id.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")] = False,
) -> None:
    """Show what is stored of an item: attributes, code, reconstruction, nearest neighbours.

    The stored part is read from Redis; reconstruction and neighbours are asked of a recommender.
    """
    from workers import connections
    from workers.cli.stored_items import StoredItems
    from workers.query_client import QueryClient

    settings = Settings()
    client = connections.redis_client(settings.redis)
    stored_items = StoredItems(client, Keys(settings.redis.prefix))
    try:
        stored = stored_items.find(item)
    except ValueError as error:
        raise CommandFailed(f"what is stored of item {item!r} cannot be read: {error}") from error
    if stored is None:
        raise CommandFailed(_absent(item, stored_items.version))
    answers = _Answers(QueryClient(client, settings), item, has_code=bool(stored.record.code))
    shape = _input_shape(settings.registry / str(stored_items.version))
    if as_json:
        terminal.print_json(_document(item, stored, stored_items, answers))
    else:
        _show(item, stored, stored_items, answers, shape)


class _Answers:
    """What a recommender says of an item, and what it could not say."""

    def __init__(self, client: QueryClient, item: str, *, has_code: bool) -> None:
        self.problems: list[str] = []
        self._client = client
        self._silent = False
        self.reconstruction: list[float] = []
        if has_code:
            reply = self._ask(ReconstructQuery(_request_id(), item))
            self.reconstruction = reply.features if reply else []
        self.neighbours = self._ask(SimilarQuery(_request_id(), item, NEIGHBOURS))

    def _ask(self, query: QueryRequest) -> QueryReply | None:
        from workers.query_client import NoAnswer, QueryRefused

        if self._silent:
            return None
        try:
            return self._client.ask(query)
        except NoAnswer as error:
            self._silent = True
            self.problems.append(str(error))
        except QueryRefused as error:
            self.problems.append(str(error))
        return None


class _ContentShape(msgspec.Struct):
    input_shape: list[int] = []


class _ShapeOnly(msgspec.Struct):
    content: _ContentShape | None = None


def _input_shape(bundle: Path) -> list[int]:
    """Return the shape that the content model takes; an empty one where the model is not on this machine."""
    try:
        manifest = msgspec.json.decode((bundle / "manifest.json").read_bytes(), type=_ShapeOnly)
    except FileNotFoundError:
        return []
    return manifest.content.input_shape if manifest.content else []


def _request_id() -> str:
    from workers.query_client import new_request_id

    return new_request_id()


def _absent(item: str, version: str | None) -> str:
    if version is None:
        return "there is no model yet, so nothing is encoded: `latentstream train` makes one"
    return (
        f"item {item!r} is not stored under the model {version}: it was not published, was deleted, is not encoded "
        "yet (`latentstream status`), or could not be (`latentstream dead-letters list`)"
    )


def _document(item: str, stored: StoredItem, items: StoredItems, answers: _Answers) -> dict[str, Any]:
    near = answers.neighbours
    return {
        "item_id": item,
        "model": items.version,
        "partition": stored.partition,
        "available": stored.record.available,
        "attributes": stored.attributes,
        "code_bytes": len(stored.record.code),
        "code": stored.record.code.hex(),
        "reconstruction_error": stored.record.error if stored.record.code else None,
        "anomalous": stored.record.anomalous,
        "anomaly_score": stored.record.score,
        "reconstruction": answers.reconstruction or None,
        "neighbours": items_document(near.items, near.scores, items.titles(near.items)) if near else None,
        "problems": answers.problems,
    }


def _show(item: str, stored: StoredItem, items: StoredItems, answers: _Answers, shape: list[int]) -> None:
    console = terminal.console()
    record = stored.record
    rows = [
        ("item", item),
        ("model", str(items.version)),
        ("partition", str(stored.partition)),
        ("available", "yes" if record.available else "no: it is never recommended"),
    ]
    if record.code:
        rows += [
            ("code", f"{len(record.code)} bytes: {record.code.hex()}"),
            ("reconstruction error", f"{record.error:.4g} (mean squared, a feature)"),
        ]
    else:
        rows.append(("code", "none: the item was published without features, or the model has no content part"))
    if record.score is not None:
        verdict = "unlike what the model was trained on" if record.anomalous else "ordinary"
        rows.append(("anomaly score", f"{record.score:.2g} times the alarm threshold: {verdict}"))
    rows += [(name, _attribute(value)) for name, value in stored.attributes.items()]
    console.print(terminal.pairs(rows))
    if answers.reconstruction:
        terminal.say("\nreconstruction", "bold")
        terminal.say(picture(answers.reconstruction, shape) or _first_values(answers.reconstruction))
    if answers.neighbours is not None:
        near = answers.neighbours
        terminal.say("\nnearest neighbours", "bold")
        if near.items:
            console.print(items_table(near.items, near.scores, items.titles(near.items)))
        else:
            terminal.say("none: no other item is available")
    for problem in answers.problems:
        terminal.say(terminal.printable(problem), "yellow", stderr=True)


def _attribute(value: Attribute) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _first_values(values: Sequence[float]) -> str:
    shown = ", ".join(f"{value:.4g}" for value in values[:FIRST_VALUES])
    return f"{shown}, … ({len(values)} values)" if len(values) > FIRST_VALUES else shown


def picture(values: Sequence[float], shape: Sequence[int]) -> str:
    """Return an image with values in [0, 1], of shape [height, width] or [height, width, channels], as text.

    Large images are sampled; channels are averaged. The text is empty where the shape is not an image's.
    """
    if len(shape) not in (2, 3):
        return ""
    height, width, channels = (*shape, 1)[:3]
    if len(values) != height * width * channels:
        return ""
    step = max(width / PICTURE_COLUMNS, 1)
    # A character is twice as high as wide, so each pixel is drawn as two of them.
    lines = []
    for row in range(int(height / step)):
        pixels = []
        for column in range(int(width / step)):
            first = (int(row * step) * width + int(column * step)) * channels
            brightness = sum(values[first : first + channels]) / channels
            level = min(max(brightness, 0.0), 1.0) * (len(_SHADES) - 1)
            pixels.append(2 * _SHADES[round(level)])
        lines.append("".join(pixels))
    return "\n".join(lines)
