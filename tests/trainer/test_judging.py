"""What is asked of the lists, and what the gate makes of the answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.histories import Interactions
from models.splits import split_time
from models.training import TrainingData
from tests.trainer import data as people
from workers.trainer.gate import Figures, compare, decide
from workers.trainer.judging import Questions, gains, popular_places, questions, random_gain


def of(*rows: tuple[int, int, float]) -> TrainingData:
    users, items, times = (np.array(column) for column in zip(*rows, strict=True))
    return TrainingData(
        item_ids=["a", "b", "c", "d"],
        features=None,
        has_features=np.zeros(4, bool),
        input_shape=None,
        published=True,
        interactions=Interactions(users, items, np.ones(len(rows), np.float32), times.astype(np.float64)),
    )


def test_a_question_is_a_moment_with_what_the_user_had_before_it() -> None:
    # The newcomer 1 has nothing at 20.0, and what comes at 30.0 together is no history of one another.
    asked = questions(of((0, 0, 1.0), (0, 1, 20.0), (1, 2, 20.0), (0, 2, 30.0), (0, 3, 30.0)), 10.0, seed=0)
    assert asked.users.tolist() == [0, 0, 0]
    assert asked.items.tolist() == [1, 2, 3]
    assert [asked.histories.take(np.array([row])).items.tolist() for row in range(3)] == [[0], [0, 1], [0, 1]]


def test_many_questions_are_a_random_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.trainer.judging.MOST_QUESTIONS", 50)
    asked, again = (questions(people.tastes(), 12.0, seed=0) for _ in range(2))
    assert len(asked) == len(asked.histories) == 50
    assert asked.items.tolist() == again.items.tolist()
    assert len(set(asked.users.tolist())) > 20


@pytest.mark.parametrize(
    ("share", "not_before", "least", "expected"),
    [
        (0.2, None, 1, 8.0),
        (0.2, 9.0, 1, 9.0),  # What the other model was trained on does not test it.
        (0.2, 9.0, 2, 8.0),  # But for where that leaves too little.
        (0.2, 3.0, 1, 8.0),
        (0.2, None, 3, None),
    ],
)
def test_the_newest_interactions_test(
    share: float, not_before: float | None, least: int, expected: float | None
) -> None:
    assert split_time(np.arange(1.0, 11.0), share, not_before, least) == expected


def test_interactions_of_one_time_cannot_be_split() -> None:
    assert split_time(np.full(500, 7.0), 0.1, None, 100) is None
    assert split_time(np.empty(0), 0.1, None, 100) is None


def test_popular_lists_leave_out_what_the_user_has() -> None:
    data = of((1, 0, 1.0), (2, 0, 1.0), (3, 0, 1.0), (1, 1, 1.0), (2, 1, 1.0), (0, 0, 2.0), (0, 2, 11.0), (0, 1, 12.0))
    asked = questions(data, 10.0, seed=0)
    # Without a, which user 0 has, the order is b, c, d; then b stands first.
    assert asked.items.tolist() == [2, 1]
    assert popular_places(data, 10.0, asked).tolist() == [2, 1]


def test_a_list_gains_by_the_place_of_what_is_wanted() -> None:
    assert gains(np.array([1, 3, 0])).tolist() == [1.0, 0.5, 0.0]
    assert random_gain(2) == pytest.approx((1 + 1 / np.log2(3)) / 2)


def asked_of(users: int, each: int) -> Questions:
    asked = questions(people.tastes(), 12.0, seed=0)
    return replace(asked, users=np.repeat(np.arange(users), each), items=np.zeros(users * each, np.int64))


def figures(champion: float, challenger: float, users: int = 100) -> Figures:
    """Figures of two models that each list what is wanted first, for such a share of the users."""
    rng = np.random.default_rng(0)
    old, new = ((rng.random(users) < share).astype(np.int64) for share in (champion, challenger))
    return compare(asked_of(users, 1), new, old, np.zeros(users, np.int64), 0.01, seed=0)


def test_better_is_promoted_with_its_figures() -> None:
    decision = decide(figures(0.3, 0.7), margin=0.01)
    assert decision.promote
    for part in ("better", "the current model's", "90% interval +", "100 held-out interactions of 100 users"):
        assert part in decision.why


def test_worse_as_good_and_not_better_by_the_margin_is_refused() -> None:
    assert decide(figures(0.7, 0.3), margin=0.0).why.startswith("not better by 0.0%")
    both = compare(asked_of(90, 1), np.ones(90, np.int64), np.ones(90, np.int64), np.zeros(90, np.int64), 0.1, seed=0)
    assert not decide(both, margin=0.0).promote
    better = figures(0.5, 0.75, 5_000)
    assert decide(better, margin=0.2).promote
    assert decide(better, margin=0.8).why.startswith("not better by 80.0%")


def test_what_a_few_people_say_is_not_sure() -> None:
    few = figures(0.5, 0.6, 20)
    assert few.difference is not None
    assert few.difference > 0
    assert decide(few, margin=0.0).why.startswith("not surely better")


def test_a_first_model_must_be_better_than_chance() -> None:
    asked, nothing = asked_of(100, 1), np.zeros(100, np.int64)
    good = compare(asked, np.full(100, 2), None, nothing, 0.1, seed=0)
    assert (good.champion, good.difference, good.interval) == (None, None, None)
    assert decide(good, margin=0.5).why.startswith("the first model: NDCG@50 0.6309 (popularity 0.0000, chance 0.1000)")
    assert decide(replace_random(good, 0.7), margin=0.5).why.startswith("no better than chance")


def replace_random(one: Figures, random: float) -> Figures:
    return Figures(**{**{name: getattr(one, name) for name in one.__struct_fields__}, "random": random})
