"""Who is in which arm of an experiment, and what stands in Redis of it."""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.experiments import GROUPS, BadExperiment, Experiment

SPRING = Experiment("spring", "v1", "v2", 0.3)


def test_what_is_written_is_read() -> None:
    made = Experiment("spring", "v1", "v2", 0.1, "2026-11-24T12:00:00+00:00", "anna")
    stored = {name.encode(): value.encode() for name, value in made.fields().items()}
    assert Experiment.read(stored) == made
    assert Experiment.read(stored | {b"live_at": b"now"}) == made, "that it is live makes it no other experiment"
    assert Experiment.read({}) is None


def test_four_fields_by_hand_are_enough() -> None:
    typed = {b"name": b"spring", b"control": b"v1", b"challenger": b"v2", b"share": b".3"}
    assert Experiment.read(typed) == SPRING
    for missing in typed:
        with pytest.raises(BadExperiment, match=f"missing: {missing.decode()}"):
            Experiment.read({name: value for name, value in typed.items() if name != missing})


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        (b"share", b"half", "not a number: 'half'"),
        (b"share", b"nan", "between 0 and 1"),
        (b"share", b"1", "between 0 and 1"),
        (b"share", b"0", "between 0 and 1"),
        (b"name", b"a:b", "1 to 64 letters"),
        (b"name", b"\xff", "1 to 64 letters"),
        (b"name", b"", "1 to 64 letters"),
        (b"challenger", b"v1", "two model versions"),
        (b"control", b"", "two model versions"),
    ],
)
def test_what_is_wrong_is_said(field: bytes, value: bytes, reason: str) -> None:
    typed = {b"name": b"spring", b"control": b"v1", b"challenger": b"v2", b"share": b".3"} | {field: value}
    with pytest.raises(BadExperiment, match=reason):
        Experiment.read(typed)


FIELDS = ("name", "control", "challenger", "share")


@given(st.fixed_dictionaries({name.encode(): st.binary(max_size=12) | st.just(b"0.5") for name in FIELDS}))
def test_nothing_in_the_hash_raises_anything_else(stored: dict[bytes, bytes]) -> None:
    with contextlib.suppress(BadExperiment):
        found = Experiment.read(stored)
        assert found is not None
        assert found.arm("anna") in {"control", "challenger"}


def test_the_arm_is_what_the_readme_says() -> None:
    for user in ("42", "", "ünï", "a:b", "x" * 200):
        value = int.from_bytes(hashlib.blake2b(f"spring:{user}".encode(), digest_size=8).digest()[:4])
        assert SPRING.arm(user) == ("challenger" if value / 2**32 < 0.3 else "control")


def test_arms_have_their_share_and_groups_are_independent_of_them() -> None:
    users = [str(n) for n in range(20_000)]
    challenged = np.array([SPRING.arm(user) == "challenger" for user in users])
    groups = np.array([SPRING.group(user) for user in users])
    assert challenged.mean() == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 20_000) ** 0.5)
    for arm in (True, False):
        counts = np.bincount(groups[challenged == arm], minlength=GROUPS)
        expected = counts.sum() / GROUPS
        # Chi-squared with 127 degrees of freedom is below 200 in all but some of 100,000 cases.
        assert np.sum((counts - expected) ** 2 / expected) < 200
    assert len(counts) == GROUPS


def test_another_name_divides_users_otherwise() -> None:
    users = [str(n) for n in range(2_000)]
    halves = [Experiment(name, "v1", "v2", 0.5) for name in ("spring", "summer")]
    same = np.mean([halves[0].arm(user) == halves[1].arm(user) for user in users])
    assert same == pytest.approx(0.5, abs=0.05)


def test_versions_of_arms() -> None:
    found: Any = {arm: SPRING.version(arm) for arm in ("control", "challenger")}
    assert found == {"control": "v1", "challenger": "v2"}


def test_a_shadow_serves_nobody_and_counts_both_models_for_its_share() -> None:
    shadow = Experiment("spring", "v1", "v2", 0.3, shadow=True)
    users = [str(n) for n in range(500)]
    assert {shadow.arm(user) for user in users} == {"control"}
    chosen = [user for user in users if SPRING.arm(user) == "challenger"]
    assert [user for user in users if shadow.is_shadowed(user)] == chosen
    assert not any(SPRING.is_shadowed(user) for user in users)
    for user in users:
        expected = ["control", "challenger"] if user in chosen else [None, None]
        assert [shadow.counted_for(user, version) for version in ("v1", "v2")] == expected
        assert SPRING.counted_for(user, SPRING.version(SPRING.arm(user))) == SPRING.arm(user)
        assert shadow.counted_for(user, "v3") is None
    assert Experiment.read({name.encode(): value.encode() for name, value in shadow.fields().items()}) == shadow
    assert Experiment("spring", "v1", "v2", 1.0, shadow=True).is_shadowed("anybody")
    with pytest.raises(BadExperiment, match="share"):
        Experiment("spring", "v1", "v2", 1.0)
