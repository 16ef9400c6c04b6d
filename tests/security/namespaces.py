"""What a key names, read back from the key alone: the grammar of README's table, written a second time."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_VERSION: Final = r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}"
_PROFILE: Final = r"[a-z0-9][a-z0-9_-]{0,31}"
# Namespace -> what stands after the prefix. Only `recs`, `recs@` and `reply` end in what somebody else has chosen.
_GRAMMAR: Final = {
    name: re.compile(pattern, re.DOTALL)
    for name, pattern in {
        "recs": r"recs:(.*)",
        "recs@": rf"recs@({_PROFILE}):(.*)",
        "popular": r"popular",
        "popular@": rf"popular@({_PROFILE})",
        "trending": r"trending",
        "trending@": rf"trending@({_PROFILE})",
        "withdrawn": r"withdrawn",
        "queries": r"queries",
        "reply": r"reply:(.*)",
        "model": r"model",
        "in use": r"in-use",
        "promotions": r"promotions",
        "due": r"due",
        "training": r"training",
        "trainer": r"trainer",
        "experiment": r"experiment",
        "epoch": r"epoch",
        "topics": r"topics",
        "items position": rf"\{{i(\d+)\}}:({_VERSION}):position",
        "items removed": rf"\{{i(\d+)\}}:({_VERSION}):removed",
        "items log": rf"\{{i(\d+)\}}:({_VERSION}):log",
        "items codes": rf"\{{i(\d+)\}}:({_VERSION}):codes:(\d+)",
        "items attributes": rf"\{{i(\d+)\}}:({_VERSION}):attributes:(\d+)",
        "users position": r"\{u(\d+)\}:position",
        "users popularity": r"\{u(\d+)\}:popularity",
        "users trending": r"\{u(\d+)\}:trending",
        "users waiting": r"\{u(\d+)\}:waiting",
        "users histories": r"\{u(\d+)\}:histories:(\d+)",
        "users codes": rf"\{{u(\d+)\}}:({_VERSION}):codes:(\d+)",
        "users experiment": r"\{u(\d+)\}:experiment:([A-Za-z0-9][A-Za-z0-9_.-]{0,63})",
    }.items()
}


class Named(NamedTuple):
    """A namespace and what is named in it."""

    namespace: str
    names: tuple[str, ...]


def named(prefix: str, key: str) -> Named:
    """Return what ``key`` names; fail where it is nothing, or more than one thing."""
    assert key.startswith(f"{prefix}:")
    found = [
        Named(namespace, match.groups())
        for namespace, pattern in _GRAMMAR.items()
        if (match := pattern.fullmatch(key, len(prefix) + 1))
    ]
    assert len(found) == 1, f"{key!r} is {found}"
    return found[0]
