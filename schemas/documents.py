"""JSON documents that people read from Redis and send to it.

``recs:<user>`` and ``popular`` hold a :class:`Recommendations`; an entry of the ``queries`` stream has
one field, ``request``, with a :data:`QueryRequest`; the answer is pushed on the list ``reply:<id>``.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from schemas.events import MAX_DIMENSION, Identifier

MAX_K: Final = 1000
MAX_EXCLUDED: Final = 1000
RequestId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Count = Annotated[int, Meta(ge=1, le=MAX_K)]
# What `schemas.filters` reads; a bad one is answered with what is wrong.
FilterDocument = Annotated[dict[str, Any], Meta(description="A filter over the attributes of items.")]
# Items to leave out.
Excluded = Annotated[list[Identifier], Meta(max_length=MAX_EXCLUDED)]


class Recommendations(msgspec.Struct, frozen=True):
    """The finished list of one user, best first.

    ``order`` must stay the first field and of fixed width: the script that writes the key compares it
    as text, so that an older list never replaces a newer one. It is the epoch of the partition's owner
    and the offset after the last interaction that the list knows of.
    """

    order: str
    user_id: str
    model: str
    source: Literal["model", "popular"]
    generated_at: float
    items: list[str]
    scores: list[float]


def recommendation_order(epoch: int, offset: int) -> str:
    """Return the fixed-width stamp of a list: it sorts as text by epoch, then by offset."""
    return f"{epoch:012d}-{offset:016d}"


class UserQuery(msgspec.Struct, tag="user", tag_field="type", frozen=True, forbid_unknown_fields=True):
    """Fresh recommendations for a user, from the history as it is now."""

    id: RequestId
    user_id: Identifier
    k: Count = 10
    filter: FilterDocument | None = None
    exclude: Excluded = []


class ItemsQuery(msgspec.Struct, tag="items", tag_field="type", frozen=True, forbid_unknown_fields=True):
    """Recommendations for an anonymous visitor who looked at these items."""

    id: RequestId
    item_ids: Annotated[list[Identifier], Meta(min_length=1, max_length=500)]
    k: Count = 10
    filter: FilterDocument | None = None
    exclude: Excluded = []


class VectorQuery(msgspec.Struct, tag="vector", tag_field="type", frozen=True, forbid_unknown_fields=True):
    """The items nearest to a raw feature vector, as one would publish it in an item event."""

    id: RequestId
    features: Annotated[list[float], Meta(min_length=1, max_length=MAX_DIMENSION)]
    k: Count = 10
    filter: FilterDocument | None = None
    exclude: Excluded = []


class SimilarQuery(msgspec.Struct, tag="similar", tag_field="type", frozen=True, forbid_unknown_fields=True):
    """The items nearest to an item, by the cosine between their vectors."""

    id: RequestId
    item_id: Identifier
    k: Count = 10
    filter: FilterDocument | None = None
    exclude: Excluded = []


class ReconstructQuery(msgspec.Struct, tag="reconstruct", tag_field="type", frozen=True, forbid_unknown_fields=True):
    """What the stored code of an item decodes to."""

    id: RequestId
    item_id: Identifier


QueryRequest = UserQuery | ItemsQuery | VectorQuery | SimilarQuery | ReconstructQuery


def _nothing() -> list[Any]:
    return []


class QueryReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to one query. ``status`` is "error" where ``error`` says what was wrong with it."""

    id: str
    status: Literal["ok", "error"]
    model: str = ""
    error: str = ""
    # With a function of our own they are written also where they are empty: a filter may match nothing.
    items: list[str] = msgspec.field(default_factory=_nothing)
    scores: list[float] = msgspec.field(default_factory=_nothing)
    features: list[float] = []
    reconstruction_error: float | None = None
