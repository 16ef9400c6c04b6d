from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.errors import TooLittleDataError
from models.histories import Interactions
from models.training import Progress, Trained, train
from tests.models import boards

QUICK_CONTENT = boards.SETTINGS.content.model_copy(update={"epochs": 2})
QUICK = boards.SETTINGS.model_copy(update={"content": QUICK_CONTENT, "interaction_epochs": 2})


def test_reports_say_what_was_trained(
    trained_both: Trained, trained_content: Trained, trained_interactions: Trained
) -> None:
    report = trained_both.report
    assert (report.items, report.items_with_features, report.users, report.trained_items) == (48, 48, 48, 48)
    assert report.interactions == len(boards.board().users)
    assert report.metrics["content_validation_error"] < 0.06 * report.metrics["content_validation_variance"]
    assert report.metrics["interaction_validation_ndcg_at_20"] > 0.4
    assert report.metrics["bridge_validation_r2"] > 0.3
    assert report.notes == []
    assert trained_content.report.trained_items == 0
    assert trained_content.parts.space.vocabulary == {}
    assert trained_interactions.parts.content is None


def test_the_catalogue_is_the_vocabulary_only_where_nothing_was_published(
    trained_both: Trained, trained_content: Trained, trained_interactions: Trained
) -> None:
    assert trained_interactions.parts.space.seeded
    assert not trained_both.parts.space.seeded
    assert not trained_content.parts.space.seeded
    assert not train(boards.both(features=False), QUICK, "x").parts.space.seeded


def test_the_same_seed_gives_the_same_model(tmp_path_factory: pytest.TempPathFactory) -> None:
    paths = [train(boards.both(), QUICK, "x").save(tmp_path_factory.mktemp("registry")) for _ in range(2)]
    assert paths[0].name == paths[1].name
    other = train(boards.both(), QUICK.model_copy(update={"seed": 5}), "x").save(tmp_path_factory.mktemp("registry"))
    assert other.name != paths[0].name


def test_progress_is_told() -> None:
    seen: list[Progress] = []
    train(boards.both(), QUICK, "x", seen.append)
    assert list(dict.fromkeys(step.stage for step in seen)) == [
        "Content autoencoder",
        "Content decoder",
        "Interaction autoencoder, finding the number of epochs",
        "Interaction autoencoder, on all interactions",
    ]
    assert seen[0].done == 1
    assert seen[0].total == 2
    assert "loss" in seen[0].note


def test_a_code_is_shorter_than_the_features() -> None:
    wide = QUICK.model_copy(update={"content": QUICK_CONTENT.model_copy(update={"latent_dim": 32})})
    trained = train(boards.both(interactions=False), wide, "x")
    assert trained.parts.content is not None
    assert trained.parts.content.code_bytes == 5
    assert trained.report.notes == [
        "latent_dim is 5 instead of 32: the latent of the kind vanilla must be narrower than the 6 features."
    ]


def test_images_keep_their_shape() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.random((60, 4 * 5 * 3)).astype(np.float32)
    data = replace(
        boards.both(interactions=False),
        item_ids=[str(item) for item in range(60)],
        features=pixels,
        has_features=np.ones(60, bool),
        input_shape=(4, 5, 3),
    )
    content = train(data, QUICK, "x").parts.content
    assert content is not None
    assert content.input_shape == (4, 5, 3)
    assert content.input_dim == 60


def test_items_without_features_are_trained_by_their_interactions() -> None:
    has_features = np.arange(boards.SIDE) >= 8
    trained = train(replace(boards.both(), has_features=has_features), QUICK, "x")
    placement = trained.parts.space.place(["item-0", "item-9", "other"], None, np.zeros(3, bool))
    assert placement.known.tolist() == [True, True, False]


def test_too_few_features_are_left_out_with_a_note() -> None:
    trained = train(replace(boards.both(), has_features=np.arange(boards.SIDE) < 5), QUICK, "x")
    assert trained.parts.content is None
    assert "there are 5" in trained.report.notes[0]


def test_too_few_interactions_are_left_out_with_a_note() -> None:
    one = boards.board()
    few = Interactions(one.users[:3], one.items[:3], one.weights[:3], one.timestamps[:3])
    trained = train(replace(boards.both(), interactions=few), QUICK, "x")
    assert trained.parts.space.vocabulary == {}
    assert "there are 1 and 3" in trained.report.notes[0]


def test_too_little_of_everything_says_what_is_needed() -> None:
    with pytest.raises(TooLittleDataError, match=r"at least 20 items .*Publish more"):
        train(boards.both(features=False, interactions=False), QUICK, "x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"has_features": np.ones(3, bool)}, "has_features"),
        ({"input_shape": (7,)}, "shape"),
        ({"input_shape": None}, "input shape"),
        ({"features": np.full((boards.SIDE, 6), np.nan, np.float32)}, "NaN"),
        ({"features": None}, "no features"),
        ({"item_ids": boards.names()[:-1], "has_features": np.ones(boards.SIDE - 1, bool)}, "rows"),
        ({"interactions": replace(boards.board(), items=boards.board().items + 1)}, "outside"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(replace(boards.both(), **change), QUICK, "x")  # type: ignore[arg-type]  # wrong on purpose
