"""The profiles of the settings, as the recommender uses them."""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

from schemas.filters import parse_filter
from schemas.keys import DEFAULT_PROFILE
from schemas.settings import ProfileSettings, RecommendSettings
from workers.wanted import Wanted


class Profile(NamedTuple):
    """A kind of list that every user has. ``rules`` is another text when its settings are others."""

    name: str
    wanted: Wanted
    rules: str


def all_profiles(settings: RecommendSettings) -> tuple[Profile, ...]:
    """Return the profiles of ``settings``, first the default one, which is always there."""
    by_name = {DEFAULT_PROFILE: ProfileSettings()} | settings.profiles
    return tuple(_profile(name, own, settings.k) for name, own in by_name.items())


def _profile(name: str, own: ProfileSettings, k: int) -> Profile:
    own = own if own.k is not None else own.model_copy(update={"k": k})
    wanted = Wanted(
        own.k or k,
        parse_filter(own.filter) if own.filter is not None else None,
        diversity=own.diversity,
        category=own.category,
        per_category=own.per_category,
        explain=own.explain,
    )
    described = json.dumps(own.model_dump(), sort_keys=True)
    return Profile(name, wanted, hashlib.blake2b(described.encode(), digest_size=4).hexdigest())
