"""Folding interactions into histories."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.records import Touch, pack_history
from workers.decoding import Interaction
from workers.histories import Histories, popularity_terms


def _interaction(item: str, weight: float = 1.0, timestamp: float = 0.0, user: str = "anna") -> Interaction:
    return Interaction(user, item, "view", weight, timestamp, 2_000_000_000_000)


def _dismissal(item: str, weight: float = 1.0) -> Interaction:
    return _interaction(item, weight)._replace(kind="dismiss")


def _items(histories: Histories, user: str = "anna") -> list[str]:
    return [item for item, _ in histories.weighted(user)]


def test_repeated_item_moves_to_the_end_with_its_new_weight() -> None:
    histories = Histories({"anna": None}, limit=10)
    for item, weight in [("a", 1.0), ("b", 2.0), ("a", 3.0)]:
        histories.fold(_interaction(item, weight))
    assert histories.weighted("anna") == [("b", 2.0), ("a", 3.0)]


def test_retraction_removes_the_item_and_the_last_one_the_user() -> None:
    histories = Histories({"anna": None}, limit=10)
    changes = [
        histories.fold(_interaction(item, weight)) for item, weight in [("a", 1.0), ("b", 1.0), ("a", 0.0), ("b", 0.0)]
    ]
    assert changes == [1, 0, 0, -1]
    assert histories.packed() == {"anna": None}


def test_retraction_of_what_never_was_changes_nothing() -> None:
    histories = Histories({"anna": pack_history([Touch("a", 1.0, 5.0, "view")])}, limit=10)
    assert histories.fold(_interaction("b", 0.0)) == 0
    assert _items(histories) == ["a"]


def test_oldest_is_forgotten_beyond_the_limit() -> None:
    histories = Histories({"anna": None}, limit=3)
    for item in "abcde":
        histories.fold(_interaction(item))
    assert _items(histories) == ["c", "d", "e"]


@given(
    st.lists(
        st.builds(
            Interaction,
            st.just("anna"),
            # Some look like the JSON around them.
            st.sampled_from([*"abcdef", '"],["', "x[", ',1.0,0.0,"view"]', "\\"]),
            st.sampled_from(["view", "dismiss"]),
            st.sampled_from([0.0, 0.5, 2.0]),
            st.just(0.0),
            st.just(0),
        ),
        max_size=30,
    ),
    st.integers(0, 30),
)
def test_a_history_does_not_depend_on_where_the_batch_was_cut(events: list[Interaction], cut: int) -> None:
    whole = Histories({"anna": None}, limit=4)
    changes = [whole.fold(event) for event in events]
    first = Histories({"anna": None}, limit=4)
    for event in events[:cut]:
        first.fold(event)
    second = Histories(first.packed(), limit=4)
    for event in events[cut:]:
        second.fold(event)
    assert second.packed() == whole.packed()
    assert len(whole.weighted("anna")) <= 4
    assert len(whole.dismissed("anna")) <= 4
    assert sum(changes) == (not whole.is_empty("anna"))


def test_a_history_that_something_else_has_written_is_written_anew() -> None:
    histories = Histories({"anna": b'[ ["a", 1, 5.0, "view"] ]', "bert": b'[["a",1.0,5.0,"view"]]'}, limit=1)
    for user in ("anna", "bert"):
        histories.fold(_interaction("b", user=user))
    expected = pack_history([Touch("b", 1.0, 0.0, "view")])
    assert histories.packed() == {"anna": expected, "bert": expected}


def test_what_nobody_looked_at_stays_as_it_is_stored() -> None:
    assert Histories({"anna": b"damaged", "bert": None}, limit=1).packed() == {"anna": b"damaged", "bert": None}


def test_a_dismissed_item_counts_for_nothing_until_it_is_touched_again() -> None:
    histories = Histories({"anna": None}, limit=10)
    changes = [
        histories.fold(change)
        for change in (_interaction("a"), _dismissal("a"), _dismissal("b"), _interaction("b"), _dismissal("c"))
    ]
    assert changes == [1, 0, 0, 0, 0]
    assert _items(histories) == ["b"]
    assert histories.dismissed("anna") == {"a", "c"}
    for item in "ab":
        histories.fold(_interaction(item, 0.0))
    assert not histories.is_empty("anna")
    assert histories.fold(_dismissal("c", 0.0)) == -1
    assert histories.is_empty("anna")
    assert histories.packed() == {"anna": None}


def test_dismissals_and_interactions_do_not_displace_each_other() -> None:
    histories = Histories({"anna": None}, limit=3)
    for number in range(5):
        histories.fold(_interaction(f"seen-{number}"))
        histories.fold(_dismissal(f"bad-{number}"))
    assert _items(histories) == ["seen-2", "seen-3", "seen-4"]
    assert histories.dismissed("anna") == {"bad-2", "bad-3", "bad-4"}


def test_dismissals_are_not_popular() -> None:
    assert popularity_terms([_dismissal("a"), _interaction("b")], half_life_days=1)[0::2] == ["b"]


def test_popularity_halves_with_each_half_life() -> None:
    day = 86_400.0
    terms = popularity_terms([_interaction("old", 1.0, 0.0), _interaction("new", 1.0, 7 * day)], half_life_days=7)
    assert terms[0::2] == ["old", "new"]
    assert [2.0**x for x in terms[1::2] if isinstance(x, float)] == pytest.approx([1.0, 2.0])


def test_popularity_ignores_retractions_and_cuts_times_in_the_future() -> None:
    produced = 2_000_000_000.0
    terms = popularity_terms([_interaction("gone", 0.0), _interaction("future", 4.0, produced * 3)], half_life_days=1)
    assert terms == ["future", produced / 86_400 + math.log2(4.0)]
