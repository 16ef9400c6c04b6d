"""What the keys of a prefix take in Redis, by kind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Final, Literal

import redis

from schemas.keys import Keys

Kind = Literal["item codes", "item attributes", "change log", "user lists", "user histories", "user codes", "other"]
# The part of a key after the prefix. The lists come first: a user id may look like anything.
_PATTERNS: Final[tuple[tuple[Kind, re.Pattern[str]], ...]] = (
    ("user lists", re.compile(r"recs:")),
    ("item codes", re.compile(r"\{i\d+\}:[^:]+:codes:\d+$")),
    ("item attributes", re.compile(r"\{i\d+\}:[^:]+:attributes:\d+$")),
    ("change log", re.compile(r"\{i\d+\}:[^:]+:log$")),
    ("user histories", re.compile(r"\{u\d+\}:histories:\d+$")),
    ("user codes", re.compile(r"\{u\d+\}:[^:]+:codes:\d+$")),
)
_KEYS_AT_A_TIME: Final = 1000


def kind_of(key: str) -> Kind:
    """Return what a key without its prefix holds."""
    return next((kind for kind, pattern in _PATTERNS if pattern.match(key)), "other")


def usage(client: redis.Redis, keys: Keys) -> Counter[Kind]:
    """Return the bytes of all keys of a prefix, by kind, as MEMORY USAGE counts them (with the key itself)."""
    total: Counter[Kind] = Counter()
    start = f"{keys.prefix}:"
    names: Iterable[bytes] = iter(client.scan_iter(match=f"{start}*", count=_KEYS_AT_A_TIME))
    while batch := list(islice(names, _KEYS_AT_A_TIME)):
        pipeline = client.pipeline(transaction=False)
        for name in batch:
            pipeline.memory_usage(name, samples=0)
        for name, size in zip(batch, pipeline.execute(), strict=True):
            total[kind_of(name.decode(errors="replace").removeprefix(start))] += size or 0
    return total
