"""``latentstream recommend`` and ``latentstream similar``: lists of items, by title where they have one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from schemas.documents import (
    MAX_EXCLUDED,
    MAX_K,
    ItemsQuery,
    QueryReply,
    QueryRequest,
    Recommendations,
    SimilarQuery,
    UserQuery,
)
from schemas.events import MAX_ID_LENGTH
from schemas.filters import BadFilter, decode_filter
from schemas.keys import Keys
from schemas.settings import Settings
from workers.cli import terminal
from workers.cli.errors import CommandFailed

if TYPE_CHECKING:
    import redis

# How many items an ItemsQuery may name.
_MAX_ITEMS = 500

Length = Annotated[int, typer.Option("-k", min=1, max=MAX_K, help="How many items to show.")]
Filter = Annotated[
    str | None,
    typer.Option("--filter", metavar="JSON", help='Only items whose attributes match, such as {"genre": "Drama"}.'),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")]


def recommend(
    user: Annotated[str | None, typer.Argument(help="User id. Without one, give --items.")] = None,
    k: Length = 10,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask a recommender instead of reading the list.")] = False,
    items: Annotated[
        str | None, typer.Option("--items", help="For somebody anonymous who looked at these items: a,b,c.")
    ] = None,
    filter_: Filter = None,
    exclude: Annotated[str | None, typer.Option("--exclude", help="Items to leave out: a,b,c.")] = None,
    as_json: AsJson = False,
) -> None:
    """Recommend items to a user: the finished list, or a fresh one made now (--fresh, --filter, --exclude).

    A user without a list gets the popularity list, as everybody does who was never seen.
    """
    if (user is None) == (items is None):
        raise typer.BadParameter("give a user id, or --items, and not both")
    condition = _condition(filter_)
    without = [] if exclude is None else _item_ids("--exclude", exclude, MAX_EXCLUDED)
    from workers import connections

    settings = Settings()
    client = connections.redis_client(settings.redis)
    if items is not None:
        query: QueryRequest = ItemsQuery(
            _request_id(), _item_ids("--items", items, _MAX_ITEMS), k, filter=condition, exclude=without
        )
        shown = _asked(client, settings, query, "made now for " + items)
    elif fresh or condition is not None or without:
        query = UserQuery(_request_id(), _identifier(user or ""), k, filter=condition, exclude=without)
        shown = _asked(client, settings, query, f"made now for {user}")
    else:
        shown = _finished(client, Keys(settings.redis.prefix), user or "", k)
    _show(client, settings, shown, as_json=as_json)


def similar(
    item: Annotated[str, typer.Argument(help="Item id.")],
    k: Length = 10,
    filter_: Filter = None,
    as_json: AsJson = False,
) -> None:
    """Find the items most like an item, by the cosine of their vectors. Asks a recommender."""
    condition = _condition(filter_)
    from workers import connections

    settings = Settings()
    client = connections.redis_client(settings.redis)
    query = SimilarQuery(_request_id(), _identifier(item), k, filter=condition)
    _show(client, settings, _asked(client, settings, query, f"most like {item}"), as_json=as_json)


class Shown(msgspec.Struct, frozen=True):
    """A list as it is shown: where it is from, its model, and the items, best first."""

    about: str
    source: str
    model: str
    items: list[str]
    scores: list[float]


def _request_id() -> str:
    from workers.query_client import new_request_id

    return new_request_id()


def _identifier(text: str) -> str:
    if not 1 <= len(text) <= MAX_ID_LENGTH:
        raise typer.BadParameter(f"an id has 1 to {MAX_ID_LENGTH} characters, this one has {len(text)}")
    return text


def _item_ids(option: str, text: str, most: int) -> list[str]:
    ids = [_identifier(part.strip()) for part in text.split(",") if part.strip()]
    if not 1 <= len(ids) <= most:
        raise typer.BadParameter(f"{option} takes 1 to {most} ids with commas between them, not {len(ids)}")
    return ids


def _condition(text: str | None) -> dict[str, Any] | None:
    """Return the filter as a query has it, once it is known to be one."""
    if text is None:
        return None
    try:
        decode_filter(text)
    except BadFilter as error:
        raise typer.BadParameter(str(error), param_hint="--filter") from error
    document: dict[str, Any] = msgspec.json.decode(text)
    return document


def _asked(client: redis.Redis, settings: Settings, query: QueryRequest, about: str) -> Shown:
    from workers.query_client import QueryClient

    reply: QueryReply = QueryClient(client, settings).ask(query)
    return Shown(about, "query", reply.model, reply.items, reply.scores)


def _finished(client: redis.Redis, keys: Keys, user: str, k: int) -> Shown:
    stored, popular = client.mget([keys.recommendations(_identifier(user)), keys.popular])
    data = stored or popular
    if data is None:
        raise CommandFailed(
            f"there is neither a list for {user!r} nor a popularity list: nothing was published yet, or no "
            "recommender runs (`latentstream status` says which)"
        )
    document = msgspec.json.decode(data, type=Recommendations)
    age = terminal.duration(time.time() - document.generated_at)
    whose = f"list of {user}" if stored else f"{user} has no list: what is popular"
    by = "ranked by the model" if document.source == "model" else "by popularity"
    return Shown(f"{whose}, {by}, {age} old", document.source, document.model, document.items[:k], document.scores[:k])


def _show(client: redis.Redis, settings: Settings, shown: Shown, *, as_json: bool) -> None:
    from workers.cli.stored_items import StoredItems

    titles = StoredItems(client, Keys(settings.redis.prefix)).titles(shown.items)
    if as_json:
        terminal.print_json(as_document(shown, titles))
        return
    terminal.say(terminal.printable(f"{shown.about} (model {shown.model})"), "dim")
    if not shown.items:
        terminal.say("No items: nothing that can be recommended is published, or all of it is known already.")
        return
    terminal.console().print(items_table(shown.items, shown.scores, titles))


def items_table(items: Sequence[str], scores: Sequence[float], titles: dict[str, str]) -> Any:
    """Return ranked items as a table; the titles have a column where there are any."""
    headings = ("", "item", "title", "score") if titles else ("", "item", "score")
    rows = [
        (str(rank), item, *([titles.get(item, "")] if titles else []), f"{score:.4g}")
        for rank, (item, score) in enumerate(zip(items, scores, strict=True), start=1)
    ]
    return terminal.table(headings, rows, right=("", "score"))


def as_document(shown: Shown, titles: dict[str, str]) -> dict[str, Any]:
    """Return a list as a JSON object; ``title`` is null where an item has none."""
    return {
        "source": shown.source,
        "model": shown.model,
        "items": items_document(shown.items, shown.scores, titles),
    }


def items_document(items: Sequence[str], scores: Sequence[float], titles: dict[str, str]) -> list[dict[str, Any]]:
    """Return ranked items as JSON objects, best first."""
    return [
        {"item_id": item, "score": score, "title": titles.get(item)} for item, score in zip(items, scores, strict=True)
    ]
