"""Reading a query, and what it wants: its own rules, or else those of its profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from schemas.documents import MAX_REASONS, MAX_REQUEST_BYTES, ListQuery, QueryRequest
from schemas.filters import BadFilter, parse_filter
from workers.profiles import Profile
from workers.wanted import Wanted

# Where neither the query nor a profile says how many.
K: Final = 10
_REQUEST: Final = msgspec.json.Decoder(QueryRequest)
_RULES: Final = ("k", "diversity", "category", "per_category", "explain")


class BadQuery(Exception):  # noqa: N818
    """A request that cannot be answered; its message is the reply."""


def decode_request(data: bytes) -> QueryRequest:
    """Return the query in the field ``request`` of an entry.

    Raises:
        BadQuery: it is none, or too large. Nothing else is raised.
    """
    if len(data) > MAX_REQUEST_BYTES:
        raise BadQuery(f"not a query: it has {len(data):,} bytes, allowed are {MAX_REQUEST_BYTES:,}")
    try:
        query: QueryRequest = _REQUEST.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadQuery(f"not a query: {error}") from error
    return query


def wanted_by(query: ListQuery, profiles: Sequence[Profile], never: frozenset[str] = frozenset()) -> Wanted:
    """Return what ``query`` wants, without the items that must ``never`` be in its list.

    Raises:
        BadQuery: there is no such profile, the filter is none, only a half of a cap is given, or too many
            reasons are asked for.
    """
    rules: dict[str, Any] = {name: getattr(query, name, None) for name in _RULES}
    if query.filter is not None:
        try:
            rules["filter"] = parse_filter(query.filter)
        except BadFilter as error:
            raise BadQuery(str(error)) from error
    given = {name: value for name, value in rules.items() if value is not None}
    wanted = replace(_base(query.profile, profiles), exclude=never | frozenset(query.exclude), **given)
    if (wanted.category is None) != (wanted.per_category is None):
        raise BadQuery("category and per_category go together")
    if wanted.k * wanted.explain > MAX_REASONS:
        raise BadQuery(f"k times explain is {wanted.k * wanted.explain:,}, allowed are {MAX_REASONS:,}")
    return wanted


def _base(name: str | None, profiles: Sequence[Profile]) -> Wanted:
    if name is None:
        return Wanted(K)
    for profile in profiles:
        if profile.name == name:
            return profile.wanted
    raise BadQuery(f"there is no profile {name!r}, only {', '.join(profile.name for profile in profiles)}")
