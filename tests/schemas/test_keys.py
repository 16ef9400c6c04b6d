"""Key names on Redis Cluster, and the buckets of linear hashing."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from schemas.keys import ITEMS_PER_BUCKET, USERS_PER_BUCKET, Keys, bucket_of, split_source

VERSION = "20240101T000000-1a2b3c4d"
IDS = [f"item-{number}" for number in range(5_000)]


@given(st.text(st.characters(codec="utf-8")), st.integers(1, 100_000))
def test_bucket_is_in_range(identifier: str, buckets: int) -> None:
    assert 0 <= bucket_of(identifier, buckets) < buckets


@given(st.text(st.characters(codec="utf-8")), st.integers(1, 100_000))
def test_growing_moves_an_id_only_from_the_split_bucket_to_the_new_one(identifier: str, buckets: int) -> None:
    before, after = bucket_of(identifier, buckets), bucket_of(identifier, buckets + 1)
    assert after in {before, buckets}
    if after != before:
        assert before == split_source(buckets)


@pytest.mark.parametrize("new", [1, 2, 3, 7, 8, 63, 64, 100])
def test_growing_divides_the_split_bucket(new: int) -> None:
    moved = [identifier for identifier in IDS if bucket_of(identifier, new + 1) == new]
    stayed = [identifier for identifier in IDS if bucket_of(identifier, new + 1) == split_source(new)]
    assert moved
    assert stayed
    assert {bucket_of(identifier, new) for identifier in moved} == {split_source(new)}


@pytest.mark.parametrize("per_bucket", [ITEMS_PER_BUCKET, USERS_PER_BUCKET])
@pytest.mark.parametrize("name", ["item-{}", "{}"])
def test_no_bucket_leaves_the_compact_encoding(per_bucket: int, name: str) -> None:
    """Redis' hash-max-listpack-entries is 512 by default, in versions 7 and 8."""
    for buckets in (16, 23, 31):
        sizes = Counter(bucket_of(name.format(number), buckets) for number in range(buckets * per_bucket))
        assert max(sizes.values()) <= 400


def test_same_id_has_the_same_bucket_for_ever() -> None:
    """These are in people's Redis: another hash would lose them."""
    assert [bucket_of(identifier, 100) for identifier in ("a", "item-1", "größe", "x" * 256)] == [67, 41, 9, 16]


@pytest.mark.parametrize("prefix", ["ls", "shop.v2_eu-1"])
def test_all_keys_of_a_partition_share_a_slot(prefix: str) -> None:
    keys = Keys(prefix)
    items, users = keys.items(VERSION, 3), keys.users(3)
    of_items = [items.position, items.log, *(f(n) for f in (items.codes, items.attributes) for n in (0, 17))]
    of_users = [
        users.position,
        users.popularity,
        users.trending,
        users.waiting,
        users.histories(5),
        users.codes(VERSION, 9),
    ]
    for group in (of_items, of_users):
        assert len({key_slot(key.encode()) for key in group}) == 1
        assert len(set(group)) == len(group)
        assert all(key.startswith(f"{prefix}:") for key in group)


def test_partitions_spread_over_slots() -> None:
    keys = Keys("ls")
    slots = {key_slot(keys.users(partition).position.encode()) for partition in range(16)}
    assert len(slots) == 16


def test_versions_and_partitions_share_no_key() -> None:
    keys = Keys("ls")
    names = [keys.items(version, partition).codes(0) for version in ("a", "b") for partition in (0, 1)]
    names += [keys.users(partition).codes(version, 0) for version in ("a", "b") for partition in (0, 1)]
    assert len(set(names)) == len(names)


def test_ids_with_braces_and_colons_stay_at_the_end() -> None:
    assert Keys("ls").recommendations("{x}:y") == "ls:recs:{x}:y"


def test_no_list_of_a_profile_has_the_key_of_another_list() -> None:
    keys = Keys("ls")
    assert keys.recommendations("u", "home") == "ls:recs@home:u"
    names = [
        keys.recommendations(user, profile) for user in ("u", "@home:u", "home:u") for profile in ("default", "home")
    ]
    names += [key(profile) for key in (keys.popular, keys.trending) for profile in ("default", "home")]
    assert len(set(names)) == len(names)
    assert "ls:recs:u" in names
