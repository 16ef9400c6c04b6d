"""``latentstream recommend`` and ``latentstream similar``: lists of items, by title where they have one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from msgspec import UNSET

from schemas.documents import (
    MAX_EXCLUDED,
    MAX_K,
    ItemsQuery,
    QueryReply,
    QueryRequest,
    Recommendations,
    SimilarQuery,
    TrendingQuery,
    UserQuery,
)
from schemas.events import MAX_ID_LENGTH
from schemas.filters import BadFilter, decode_filter
from schemas.keys import DEFAULT_PROFILE, PROFILE_NAME, Keys
from schemas.settings import Settings
from workers.cli import terminal
from workers.cli.errors import CommandFailed
from workers.cli.shown_lists import Shown, show

if TYPE_CHECKING:
    import redis

# How many items an ItemsQuery may name.
_MAX_ITEMS = 500
# So many items of the history are named as reasons.
REASONS = 3
# Items shown where nothing else is said.
_SHOWN = 10

Length = Annotated[int | None, typer.Option("-k", min=1, max=MAX_K, help="How many items to show, 10 if not given.")]
Filter = Annotated[
    str | None,
    typer.Option("--filter", metavar="JSON", help='Only items whose attributes match, such as {"genre": "Drama"}.'),
]
Exclude = Annotated[str | None, typer.Option("--exclude", help="Items to leave out: a,b,c.")]
ProfileName = Annotated[str | None, typer.Option("--profile", help="By the rules of this profile of the settings.")]
Diversity = Annotated[
    float | None, typer.Option("--diversity", min=0, max=1, help="0: the best items; 1: the least alike ones.")
]
Category = Annotated[
    str | None, typer.Option("--category", help="An attribute, whose values are the categories of --per-category.")
]
PerCategory = Annotated[
    int | None, typer.Option("--per-category", min=1, max=MAX_K, help="Most items of one category.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")]


def recommend(
    user: Annotated[str | None, typer.Argument(help="User id. Without one, give --items or --trending.")] = None,
    k: Length = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask a recommender instead of reading the list.")] = False,
    items: Annotated[
        str | None, typer.Option("--items", help="For somebody anonymous who looked at these items: a,b,c.")
    ] = None,
    trending: Annotated[bool, typer.Option("--trending", help="What rises now, for everybody.")] = False,
    filter_: Filter = None,
    exclude: Exclude = None,
    profile: ProfileName = None,
    diversity: Diversity = None,
    category: Category = None,
    per_category: PerCategory = None,
    explain: Annotated[bool, typer.Option("--explain", help="Name the items that each one is due to.")] = False,
    as_json: AsJson = False,
) -> None:
    """Recommend items to a user: the finished list, or a fresh one made now.

    Whatever the finished list does not have makes it a fresh one: a filter, items to leave out, diversity, categories,
    explanations. A user without a list gets the popularity list, as everybody does who was never seen.
    """
    if (user is not None) + (items is not None) + trending != 1:
        raise typer.BadParameter("give one of a user id, --items and --trending")
    if trending and explain:
        raise typer.BadParameter("what trends is due to nobody's history: it cannot be explained")
    rules = _rules(filter_, exclude, diversity, category, per_category) | ({"explain": REASONS} if explain else {})
    from workers import connections

    settings = Settings()
    client = connections.redis_client(settings.redis)
    named = {"profile": _profile(profile)} | rules
    if items is not None:
        query: QueryRequest = ItemsQuery(_request_id(), _item_ids("--items", items, _MAX_ITEMS), k, **named)
        shown = _asked(client, settings, query, "made now for " + items)
    elif not (fresh or rules):
        shown = _finished(client, Keys(settings.redis.prefix), user, profile or DEFAULT_PROFILE, k or _SHOWN)
    elif user is None:
        shown = _asked(client, settings, TrendingQuery(_request_id(), k, **named), "what trends now")
    else:
        shown = _asked(
            client, settings, UserQuery(_request_id(), _identifier(user), k, **named), f"made now for {user}"
        )
    show(client, settings, shown, as_json=as_json)


def similar(
    item: Annotated[str, typer.Argument(help="Item id.")],
    k: Length = None,
    filter_: Filter = None,
    exclude: Exclude = None,
    profile: ProfileName = None,
    diversity: Diversity = None,
    category: Category = None,
    per_category: PerCategory = None,
    as_json: AsJson = False,
) -> None:
    """Find the items most like an item, by the cosine of their vectors. Asks a recommender."""
    rules = _rules(filter_, exclude, diversity, category, per_category)
    from workers import connections

    settings = Settings()
    client = connections.redis_client(settings.redis)
    query = SimilarQuery(_request_id(), _identifier(item), k, profile=_profile(profile), **rules)
    show(client, settings, _asked(client, settings, query, f"most like {item}"), as_json=as_json)


def _rules(
    filter_: str | None, exclude: str | None, diversity: float | None, category: str | None, per_category: int | None
) -> dict[str, Any]:
    """Return what was given of the rules of a list, as a query has them."""
    rules = {
        "filter": None if filter_ is None else _condition(filter_),
        "exclude": None if exclude is None else _item_ids("--exclude", exclude, MAX_EXCLUDED),
        "diversity": diversity,
        "category": None if category is None else _identifier(category),
        "per_category": per_category,
    }
    return {name: value for name, value in rules.items() if value is not None}


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


def _condition(text: str) -> dict[str, Any]:
    """Return the filter as a query has it, once it is known to be one."""
    try:
        decode_filter(text)
    except BadFilter as error:
        raise typer.BadParameter(str(error), param_hint="--filter") from error
    document: dict[str, Any] = msgspec.json.decode(text)
    return document


def _profile(name: str | None) -> str | None:
    if name is not None and not PROFILE_NAME.fullmatch(name):
        raise typer.BadParameter(f"{name!r} cannot be the name of a profile", param_hint="--profile")
    return name


def _asked(client: redis.Redis, settings: Settings, query: QueryRequest, about: str) -> Shown:
    from workers.query_client import QueryClient

    reply: QueryReply = QueryClient(client, settings).ask(query)
    return Shown(about, "query", reply.model, reply.items, reply.scores, reply.because, reply.biases)


def _finished(client: redis.Redis, keys: Keys, user: str | None, profile: str, k: int) -> Shown:
    """Return the list of ``user``, or that of what trends."""
    names = [keys.trending(profile)]
    if user is not None:
        names = [keys.recommendations(_identifier(user), profile), keys.popular(profile)]
    found = client.mget(names)
    data = next((document for document in found if document), None)
    if data is None:
        missing = "no list of what trends" if user is None else f"neither a list for {user!r} nor a popularity list"
        raise CommandFailed(
            f"there is {missing} under the profile {profile!r}: nothing was published yet, no recommender runs "
            "(`latentstream status` says which), or its settings have no such profile"
        )
    from workers.withdrawn import without_withdrawn

    document = without_withdrawn(msgspec.json.decode(data, type=Recommendations), client, keys)
    by = {"model": "ranked by the model", "popular": "by popularity", "trending": "by how much it rises"}
    whose = "what trends" if user is None else f"list of {user}" if found[0] else f"{user} has no list: what is popular"
    return Shown(
        f"{whose}, {by[document.source]}, {terminal.duration(time.time() - document.generated_at)} old",
        document.source,
        document.model,
        document.items[:k],
        document.scores[:k],
        [] if document.because is UNSET else document.because[:k],
        [] if document.biases is UNSET else document.biases[:k],
    )
