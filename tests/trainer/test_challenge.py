"""A model's life without Kafka and Redis: challengers, the gate, and growing from a predecessor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle
from models.registry import Registry
from models.space import InteractionSpace
from models.training import Progress, TrainingData, train
from schemas.settings import TrainerSettings
from tests.trainer import data as people
from workers.trainer.challenge import Challenge, Task, challenge, judge, up_to
from workers.trainer.judging import questions, served_places

TRAINER = TrainerSettings(held_out_share=0.2)


def quiet(_: Progress) -> None:
    pass


def task(data: TrainingData, root: Path, trainer: TrainerSettings = TRAINER) -> Task:
    return Task(data, set(), people.SETTINGS, trainer, "test", Registry(root))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Challenge:
    """The first model, of the first half of the time and of the first three quarters of the items."""
    data = up_to(people.tastes(120), 12.0)
    return challenge(task(data, tmp_path_factory.mktemp("first")), None, quiet)


def test_the_first_model_is_better_than_popularity_and_promoted(first: Challenge) -> None:
    assert first.decision.promote
    assert first.judged is not None
    figures = first.judged.figures
    assert figures.challenger > 1.5 * figures.popularity > 1.5 * figures.random
    # The newest fifth was not trained on.
    assert first.bundle.manifest.trained_until == pytest.approx(12 * 0.8, abs=0.5)


def test_a_challenger_of_shuffled_data_is_refused(first: Challenge, tmp_path: Path) -> None:
    real = people.tastes(120)
    rubbish = train(people.shuffled(up_to(real, 18.0)), people.SETTINGS, "rubbish")
    bundle = Bundle.load(rubbish.save(tmp_path))
    judged = judge(task(real, tmp_path), 18.0, bundle, first.bundle, quiet)
    assert judged is not None
    assert judged.figures.interval is not None
    assert judged.figures.interval[1] < 0


def test_what_the_current_model_was_trained_on_does_not_test_it(first: Challenge, tmp_path: Path) -> None:
    known = first.bundle.manifest.trained_until
    assert known is not None
    # Little is new: a fifth of all reaches further back than what the first model knows.
    made = challenge(task(up_to(people.tastes(120), known + 1.5), tmp_path), first.bundle, quiet)
    assert made.judged is not None
    assert made.judged.until == known


def test_an_item_that_is_not_available_is_in_no_list(first: Challenge) -> None:
    data = people.tastes(120)
    asked = questions(data, 18.0, seed=0)
    places = served_places(first.bundle, data, set(), asked, lambda *_: None)
    wanted = {data.item_ids[item] for item in asked.items[places > 0].tolist()}
    assert len(wanted) > 5
    gone = served_places(first.bundle, data, wanted, asked, lambda *_: None)
    assert not gone[np.isin(asked.items, [data.item_ids.index(name) for name in wanted])].any()


def test_a_model_for_other_features_is_refused(first: Challenge, tmp_path: Path) -> None:
    data = people.tastes(120)
    assert data.features is not None
    wider = replace(data, features=np.pad(data.features, ((0, 0), (0, 1))), input_shape=(7,))
    made = challenge(task(wider, tmp_path), first.bundle, quiet)
    assert not made.decision.promote
    assert "takes features of 7" in made.decision.why


def test_items_alone_are_compared_by_their_errors(tmp_path: Path) -> None:
    data = replace(people.tastes(), interactions=None)
    made = challenge(task(data, tmp_path), None, quiet)
    assert made.decision.promote
    assert "of a variance of" in made.decision.why
    again = challenge(task(data, tmp_path), made.bundle, quiet)
    assert again.decision.why.startswith("not better by 1.0%: error")


@pytest.mark.parametrize("kind", ["multvae", "multdae", "recvae", "elsa", "contrastive", "hybrid"])
def test_every_kind_begins_where_its_predecessor_ended(kind: str, tmp_path: Path) -> None:
    """After one more epoch embeddings still point where they did; those of a model that began anew do not."""
    settings = people.SETTINGS.model_copy(
        update={"interaction_kind": kind, "interaction_hidden": 24, "interaction_epochs": 40}
    )
    data = people.tastes(120)
    before = Bundle.load(train(up_to(data, 12.0), settings, "before").save(tmp_path))
    # Of another seed, so that nothing is alike because it began alike.
    short = settings.model_copy(update={"interaction_epochs": 1, "seed": 5})
    grown, fresh = (
        Bundle.load(train(data, short, name, predecessor=start).save(tmp_path))
        for name, start in (("grown", before), ("fresh", None))
    )
    rows = np.arange(120)
    names = [data.item_ids[row] for row in rows]
    nothing = np.zeros(len(names), bool)
    places = [bundle.space.place(names, None, nothing).embeddings for bundle in (before, grown, fresh)]
    cosines = [
        np.sum(places[0] * other, axis=1) / np.linalg.norm(places[0], axis=1) / np.linalg.norm(other, axis=1)
        for other in places[1:]
    ]
    assert np.median(cosines[0]) > 0.7
    assert np.median(cosines[0]) > np.median(cosines[1]) + 0.3


def test_growing_keeps_what_is_known_and_adds_what_is_new(first: Challenge, tmp_path: Path) -> None:
    """The catalogue has grown by a third: the quality is at least that of before, for old and for new items."""
    data = people.tastes(people.ITEMS)
    grown = challenge(task(data, tmp_path, TRAINER.model_copy(update={"from_current": True})), first.bundle, quiet)
    assert isinstance(grown.bundle.space, InteractionSpace)
    new = grown.bundle.space.vocabulary.keys() - first.bundle.space.vocabulary.keys()
    assert len(new) > 30
    assert grown.judged is not None
    assert grown.judged.figures.champion is not None
    assert grown.judged.figures.challenger >= grown.judged.figures.champion
    assert grown.trained.report.notes == []


def test_another_architecture_begins_anew_and_says_so(first: Challenge) -> None:
    wider = people.SETTINGS.model_copy(update={"user_dim": 8})
    notes = train(up_to(people.tastes(120), 12.0), wider, "x", predecessor=first.bundle).report.notes
    assert notes == ["The interaction autoencoder began anew: the current model's has another architecture."]
