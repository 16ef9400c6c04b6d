"""Ids come from events, so that anybody may choose them: none of them reaches a key of another namespace."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from schemas.keys import Keys
from tests.security.namespaces import Named, named

PREFIX = "ls"
KEYS = Keys(PREFIX)
# Pieces that mean something in keys, patterns and protocols.
PIECES = (
    *("recs", "@home", "popular", "trending", "withdrawn", "queries", "reply", "model", "experiment", "epoch", "codes"),
    *(":", "{i0}", "{u0}", "{", "}", "{}", "@", "*", "?", "[a-z]", "\\", '"', "'", "\r\n", "\n", "\0", " ", "ls:", "0"),
    *("\u202e", "\U0001f600", "e\u0301", "é", "\ufeff"),
)
IDS = st.lists(st.sampled_from(PIECES) | st.text(st.characters(codec="utf-8"), max_size=8), min_size=1).map("".join)
NUMBERS = st.integers(0, 9)
VERSIONS = st.sampled_from(["20240101T000000-1a2b3c4d", "experiment", "histories", "position", "codes", "0"])
PROFILES = st.sampled_from(["home", "default-", "recs", "0"])
EXPERIMENTS = st.sampled_from(["spring", "codes", "0", "a.b", "position"])


def one(namespace: str, key: str, *names: object) -> tuple[str, Named]:
    return key, Named(namespace, tuple(map(str, names)))


def items(n: int, version: str, bucket: int) -> list[tuple[str, Named]]:
    keys = KEYS.items(version, n)
    return [
        one("items position", keys.position, n, version),
        one("items log", keys.log, n, version),
        one("items codes", keys.codes(bucket), n, version, bucket),
        one("items attributes", keys.attributes(bucket), n, version, bucket),
    ]


def users(n: int, version: str, bucket: int, experiment: str) -> list[tuple[str, Named]]:
    keys = KEYS.users(n)
    return [
        one("users position", keys.position, n),
        one("users popularity", keys.popularity, n),
        one("users trending", keys.trending, n),
        one("users waiting", keys.waiting, n),
        one("users histories", keys.histories(bucket), n, bucket),
        one("users codes", keys.codes(version, bucket), n, version, bucket),
        one("users experiment", keys.experiment(experiment), n, experiment),
    ]


@given(IDS, IDS, PROFILES)
def test_a_key_with_an_id_names_that_id_and_nothing_else(user: str, request: str, profile: str) -> None:
    """What can be read back is different for different ids, and for the same id in different namespaces."""
    for key, meant in (
        one("recs", KEYS.recommendations(user), user),
        one("recs@", KEYS.recommendations(user, profile), profile, user),
        one("reply", KEYS.reply(request), request),
    ):
        assert named(PREFIX, key) == meant


@given(NUMBERS, VERSIONS, NUMBERS, EXPERIMENTS, PROFILES)
def test_every_other_key_names_one_thing(n: int, version: str, bucket: int, experiment: str, profile: str) -> None:
    single = [
        one("popular", KEYS.popular()),
        one("popular@", KEYS.popular(profile), profile),
        one("trending", KEYS.trending()),
        one("trending@", KEYS.trending(profile), profile),
        one("withdrawn", KEYS.withdrawn),
        one("queries", KEYS.queries),
        one("model", KEYS.model),
        one("experiment", KEYS.experiment),
        one("epoch", KEYS.epoch),
        one("topics", KEYS.topics),
    ]
    for key, meant in single + items(n, version, bucket) + users(n, version, bucket, experiment):
        assert named(PREFIX, key) == meant


@given(NUMBERS, VERSIONS, NUMBERS, EXPERIMENTS)
def test_the_hash_tag_of_a_partition_is_its_number(n: int, version: str, bucket: int, experiment: str) -> None:
    """Ids are fields in these keys, never a part of the name; whatever else is in it stands behind the tag."""
    for kind, keys in (("i", items(n, version, bucket)), ("u", users(n, version, bucket, experiment))):
        assert {key_slot(key.encode()) for key, _ in keys} == {key_slot(f"{kind}{n}".encode())}
