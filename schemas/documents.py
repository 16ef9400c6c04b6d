"""JSON documents that people read from Redis and send to it.

``recs:<user>`` and ``popular`` hold a :class:`Recommendations`; an entry of the ``queries`` stream has
one field, ``request``, with a :data:`QueryRequest`; the answer is pushed on the list ``reply:<id>``.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from schemas.events import MAX_DIMENSION, Identifier
from schemas.keys import DEFAULT_PROFILE, PROFILE_NAME

MAX_K: Final = 1000
MAX_EXPLAINED: Final = 100
MAX_EXCLUDED: Final = 1000
# A query names at most so many reasons in all, that is k times `explain`: its reply has them all.
MAX_REASONS: Final = 10_000
# A vector of MAX_DIMENSION numbers as float32 has them, written as JSON, fits.
MAX_REQUEST_BYTES: Final = 4 << 20
# So many requests are in the stream at most, some hundred more or less: of more the oldest are dropped.
MAX_QUEUED: Final = 10_000
RequestId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Count = Annotated[int, Meta(ge=1, le=MAX_K)]
Explained = Annotated[int, Meta(ge=0, le=MAX_EXPLAINED)]
ProfileName = Annotated[str, Meta(pattern=PROFILE_NAME.pattern)]
# What `schemas.filters` reads; a bad one is answered with what is wrong.
FilterDocument = Annotated[dict[str, Any], Meta(description="A filter over the attributes of items.")]
# Items to leave out.
Excluded = Annotated[list[Identifier], Meta(max_length=MAX_EXCLUDED)]


# Items of a history and what each contributed, the largest first.
Reasons = list[tuple[str, float]]


class Recommendations(msgspec.Struct, frozen=True):
    """The finished list of one user, best first.

    ``order`` must stay the first field and of fixed width: the script that writes the key compares it
    as text, so that an older list never replaces a newer one. It is the epoch of the partition's owner
    and the offset after the last interaction that the list knows of.

    ``rules`` changes when the settings of the ``profile`` do. Where the profile explains, ``because`` has for each
    item those of the user's history that contributed most, with how much; ``biases``, only with a linear model, has
    what is left of each score when all contributions are taken from it.
    """

    order: str
    user_id: str
    model: str
    source: Literal["model", "popular", "trending"]
    generated_at: float
    items: list[str]
    scores: list[float]
    profile: str = DEFAULT_PROFILE
    rules: str = ""
    because: list[Reasons] | UnsetType = UNSET
    biases: list[float] | UnsetType = UNSET


def recommendation_order(epoch: int, offset: int) -> str:
    """Return the fixed-width stamp of a list: it sorts as text by epoch, then by offset."""
    return f"{epoch:013d}-{offset:016d}"


class ListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What every query for a list may say of it.

    ``profile`` is one of the settings; its rules hold for what the query does not say itself. Without one it is a
    list of 10 without rules.
    """

    filter: FilterDocument | None = None
    exclude: Excluded = []
    profile: ProfileName | None = None
    diversity: Annotated[float, Meta(ge=0, le=1)] | None = None
    category: Identifier | None = None
    per_category: Count | None = None


class UserQuery(ListQuery, tag="user", tag_field="type", frozen=True):
    """Fresh recommendations for a user, from the history as it is now."""

    id: RequestId
    user_id: Identifier
    k: Count | None = None
    explain: Explained | None = None


class ItemsQuery(ListQuery, tag="items", tag_field="type", frozen=True):
    """Recommendations for an anonymous visitor who looked at these items."""

    id: RequestId
    item_ids: Annotated[list[Identifier], Meta(min_length=1, max_length=500)]
    k: Count | None = None
    explain: Explained | None = None


class VectorQuery(ListQuery, tag="vector", tag_field="type", frozen=True):
    """The items nearest to a raw feature vector, as one would publish it in an item event."""

    id: RequestId
    features: Annotated[list[float], Meta(min_length=1, max_length=MAX_DIMENSION)]
    k: Count | None = None


class SimilarQuery(ListQuery, tag="similar", tag_field="type", frozen=True):
    """The items nearest to an item, by the cosine between their vectors."""

    id: RequestId
    item_id: Identifier
    k: Count | None = None


class TrendingQuery(ListQuery, tag="trending", tag_field="type", frozen=True):
    """What rises now, for everybody."""

    id: RequestId
    k: Count | None = None


class ReconstructQuery(msgspec.Struct, tag="reconstruct", tag_field="type", frozen=True, forbid_unknown_fields=True):
    """What the stored code of an item decodes to."""

    id: RequestId
    item_id: Identifier


QueryRequest = UserQuery | ItemsQuery | VectorQuery | SimilarQuery | TrendingQuery | ReconstructQuery


def _nothing() -> list[Any]:
    return []


class QueryReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to one query.

    ``status`` is "error" where ``error`` says what was wrong with it, and "busy" where it was not looked at, for a
    reason that ``error`` says: the same request may be answered later.

    ``because`` and ``biases`` are as in :class:`Recommendations`.
    """

    id: str
    status: Literal["ok", "error", "busy"]
    model: str = ""
    error: str = ""
    # With a function of our own they are written also where they are empty: a filter may match nothing.
    items: list[str] = msgspec.field(default_factory=_nothing)
    scores: list[float] = msgspec.field(default_factory=_nothing)
    because: list[Reasons] = []
    biases: list[float] = []
    features: list[float] = []
    reconstruction_error: float | None = None
