"""The contract of every kind of interaction autoencoder, on a checker-board whose right answers are known."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from models.checkpoints import Checkpoints
from models.explanations import contributions
from models.fitting import ReportEpoch
from models.histories import Histories
from models.index import LatentIndex
from models.interaction import KINDS, Batch, InteractionConfig, build_autoencoder, interaction_config, weighted_bags
from models.interaction.base import CANDIDATES, negative_log_likelihood
from models.interaction_network import InteractionNetwork, popularity_offsets
from models.interaction_training import TrainedInteractions, train_interactions
from models.retrieval_codes import RetrievalCodes
from models.runtime import tf
from models.space import InteractionSpace
from schemas.model_settings import WITHOUT_LOGITS, InteractionKind, ModelSettings
from tests.models import boards

DIM = 8
# Encoder and decoder of RecVAE take turns, the decoder has every fourth epoch.
EPOCHS = {"recvae": 240}


def test_every_kind_of_the_settings_is_there() -> None:
    assert set(KINDS) == set(get_args(InteractionKind))


def test_the_settings_know_which_kinds_have_no_logits() -> None:
    assert {kind for kind, built in KINDS.items() if built.temperature is None} == WITHOUT_LOGITS


def quiet(done: int, total: int, note: str) -> None:
    pass


def config_of(kind: InteractionKind) -> InteractionConfig:
    return interaction_config(ModelSettings(interaction_kind=kind, user_dim=DIM, interaction_hidden=24))


@pytest.fixture(scope="module", params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> InteractionKind:
    name: InteractionKind = request.param
    return name


@pytest.fixture(scope="module")
def histories() -> Histories:
    return Histories.of(boards.board(), boards.SIDE)


@pytest.fixture(scope="module")
def trained(kind: InteractionKind, histories: Histories) -> TrainedInteractions:
    return train_interactions(
        histories,
        boards.SIDE,
        config_of(kind),
        epochs=EPOCHS.get(kind, 60),
        seed=1,
        report_trial=quiet,
        report_final=quiet,
    )


class Interrupted(Exception):  # noqa: N818 - nothing is wrong
    pass


def test_a_training_that_was_interrupted_ends_as_if_it_was_not(
    kind: InteractionKind, histories: Histories, tmp_path: Path
) -> None:
    checkpoints = Checkpoints(tmp_path, b"identity")
    told = {"trial": 0, "final": 0}

    def run(kept: Checkpoints | None, stop: tuple[str, int] = ("", 0)) -> TrainedInteractions:
        def report_of(stage: str) -> ReportEpoch:
            def report(done: int, _total: int, _note: str) -> None:
                told[stage] += 1
                if (stage, done) == stop:
                    raise Interrupted

            return report

        trial, final = map(report_of, told)
        return train_interactions(
            histories, boards.SIDE, config_of(kind), epochs=12, seed=1,
            report_trial=trial, report_final=final, checkpoints=kept,
        )  # fmt: skip

    whole = run(None)
    expected = dict(told)
    # After each fifth epoch the state is kept, so that two epochs are done again. All kinds come to the fifth.
    for stop in (("trial", 7), ("final", 5)):
        with pytest.raises(Interrupted):
            run(checkpoints, stop)
    continued = run(checkpoints)
    np.testing.assert_array_equal(continued.network.retrieval, whole.network.retrieval)
    np.testing.assert_array_equal(continued.user_codes, whole.user_codes)
    assert continued.metrics == whole.metrics
    assert continued.curve == whole.curve
    assert told["trial"] == 2 * expected["trial"] + 2
    assert told["final"] == 2 * expected["final"]


def space_of(network: InteractionNetwork, item_bytes: int = 64) -> InteractionSpace:
    codes = RetrievalCodes.fit(network.retrieval, item_bytes, 0)
    return InteractionSpace(
        network.config, boards.names(), codes, network.embeddings, network.user_encoder, None, seeded=True
    )


def test_contributions_add_up_to_the_scores_of_kinds_that_say_so(trained: TrainedInteractions) -> None:
    space = space_of(trained.network)
    items = space.place(boards.names(), None, np.zeros(boards.SIDE, bool))
    history, weights = np.array([2, 4, 8, 3]), np.array([1, 3, 0.5, 2], np.float32)
    code = space.user_codes(space.bags(items.embeddings, np.array([0, 4]), history, weights))[0]
    scores = items.retrieval.astype(np.float64) @ np.append(code.astype(np.float64), 1)
    added = contributions(space, items.embeddings[history], weights, items.retrieval)
    assert added.shape == (4, boards.SIDE)
    adds_up = np.allclose(added.sum(axis=0) + items.retrieval[:, -1], scores, rtol=1e-5, atol=1e-5)
    assert adds_up == space.linear


def test_recommends_the_items_of_ones_colour(trained: TrainedInteractions, histories: Histories) -> None:
    found, _ = trained.network.recommend(histories, 1)
    # Everybody lacks one item of their colour.
    assert np.mean(found[:, 0] == np.arange(boards.SIDE)) > 0.8


def test_somebody_new_has_a_code_at_once(trained: TrainedInteractions) -> None:
    stranger = Histories(np.array([0, 2]), np.array([1, 5]), np.ones(2, np.float32), np.zeros(2))
    found, _ = trained.network.recommend(stranger, 10)
    assert np.mean(found[0] % 2 == 1) > 0.9


def test_shapes(trained: TrainedInteractions) -> None:
    network = trained.network
    assert network.retrieval.shape == (boards.SIDE, DIM + 1)
    assert network.embeddings.shape == (boards.SIDE, network.config.hidden)
    assert trained.user_codes.shape == (boards.SIDE, DIM)
    assert {array.dtype for array in (network.retrieval, network.embeddings, trained.user_codes)} == {
        np.dtype(np.float32)
    }


def test_a_flat_index_returns_what_the_decoder_ranks_first(trained: TrainedInteractions, histories: Histories) -> None:
    network = trained.network
    index = LatentIndex(DIM + 1)
    index.upsert(np.arange(boards.SIDE), network.retrieval)
    queries = np.pad(trained.user_codes, ((0, 0), (0, 1)), constant_values=1)
    seen = np.split(histories.items, histories.indptr[1:-1])
    scores, slots = index.search(queries, 5, seen)
    ranked, values = network.recommend(histories, 5)
    np.testing.assert_allclose(scores, values, rtol=1e-4, atol=1e-5)
    assert np.mean(slots == ranked) > 0.99  # Scores that tie in float32 may change places.


def test_saved_and_loaded_codes_are_the_same(
    trained: TrainedInteractions, histories: Histories, tmp_path: Path
) -> None:
    space = space_of(trained.network)
    space.save(tmp_path)
    loaded = InteractionSpace.load(tmp_path, space.config, boards.names(), bridged=False, seeded=True)
    everything = np.zeros(boards.SIDE, bool)
    placements = [each.place(boards.names(), None, everything) for each in (space, loaded)]
    for old, new in zip(*placements, strict=True):
        np.testing.assert_array_equal(old, new)
    bags = weighted_bags(trained.network.embeddings, histories.indptr, histories.items, histories.weights)
    np.testing.assert_array_equal(space.user_codes(bags), loaded.user_codes(bags))
    assert loaded.code_bytes == space.code_bytes


def test_the_same_seed_gives_the_same_model(kind: InteractionKind, histories: Histories, tmp_path: Path) -> None:
    first, second = (
        train_interactions(
            histories, boards.SIDE, config_of(kind), epochs=5, seed=3, report_trial=quiet, report_final=quiet
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.network.retrieval, second.network.retrieval)
    np.testing.assert_array_equal(first.user_codes, second.user_codes)
    for number, each in enumerate((first, second)):
        (tmp_path / str(number)).mkdir()
        space_of(each.network).save(tmp_path / str(number))
    # The name of a version is a hash of its files.
    for path in (tmp_path / "0").iterdir():
        assert path.read_bytes() == (tmp_path / "1" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("kind", sorted(set(KINDS) - WITHOUT_LOGITS), scope="module")
def test_popularity_is_added_to_the_logits_and_has_no_part_in_the_training(
    kind: InteractionKind, histories: Histories
) -> None:
    plain, popular = (
        train_interactions(
            histories,
            boards.SIDE,
            config_of(kind),
            epochs=2,
            seed=3,
            popularity=popularity,
            report_trial=quiet,
            report_final=quiet,
        ).network
        for popularity in (0.0, 0.5)
    )
    temperature = KINDS[kind].temperature
    assert temperature is not None
    difference = (popular.retrieval - plain.retrieval) / temperature
    assert not difference[:, :-1].any()
    counts = np.bincount(histories.items, minlength=boards.SIDE)
    np.testing.assert_allclose(difference[:, -1], 0.5 * np.log(counts), rtol=1e-4, atol=1e-5)


def test_items_that_nobody_has_count_as_those_that_one_has() -> None:
    owners = np.array([1, 2, 0, 1, 0])
    found = popularity_offsets(config_of("multvae"), owners, -1.0)
    np.testing.assert_allclose(found, [0, -np.log(2), 0, 0, 0], rtol=1e-6)
    with pytest.raises(ValueError, match="elsa are no logits"):
        popularity_offsets(config_of("elsa"), owners, 1.0)
    with pytest.raises(ValueError, match="interaction_popularity must be 0 with the kind hybrid"):
        ModelSettings(interaction_kind="hybrid", interaction_popularity=0.1)


@pytest.mark.parametrize("kind", [kind for kind, built in KINDS.items() if built.linear], scope="module")
def test_linear_kinds_have_codes_that_are_sums(trained: TrainedInteractions) -> None:
    """Else explanations of theirs would not add up to the score."""
    rng = np.random.default_rng(0)
    bags = rng.standard_normal((3, DIM)).astype(np.float32)
    bags[2] = bags[0] + bags[1]
    codes = np.asarray(trained.network.user_encoder(bags))
    factors = np.linalg.norm(bags, axis=1) / np.linalg.norm(codes, axis=1)
    unscaled = codes * factors[:, None]
    np.testing.assert_allclose(unscaled[2], unscaled[0] + unscaled[1], rtol=1e-4, atol=1e-5)


def test_a_catalogue_larger_than_the_sample_is_trained(kind: InteractionKind) -> None:
    """With sampled candidates; a tensor of users x catalogue would be 1.3 GB here."""
    items, users = 40 * CANDIDATES, 1024
    rng = np.random.default_rng(0)
    lengths = np.full(users, 6)
    taste = rng.integers(0, 4, users)
    rows = (rng.integers(0, 5, (users, 6)) + 5 * taste[:, None]).ravel()
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    histories = Histories(indptr, rows, np.ones(len(rows), np.float32), np.zeros(len(rows)))
    network = InteractionNetwork(config_of(kind), items, 20, seed=0)
    half = histories.places < 3
    losses = []
    for step in range(20):
        network.begin_epoch(0)
        losses.append(
            network.train_step(histories.rows(half), histories.rows(~half), np.full(users, 0.7, np.float32), step)
        )
    assert losses[-1] < losses[0]


def test_the_loss_of_elsa_is_that_of_the_dense_formula() -> None:
    rng = np.random.default_rng(0)
    whole = (rng.random((6, 10)) < 0.6) * rng.random((6, 10))
    inputs = whole * (rng.random((6, 10)) < 0.7)
    inputs[0] = whole[0]
    elsa = build_autoencoder(config_of("elsa"), 10, 0)
    rows = elsa.embeddings.astype(np.float64)
    unit = inputs / np.linalg.norm(inputs, axis=1, keepdims=True)
    scores = unit @ rows @ rows.T - unit
    difference = scores / np.linalg.norm(scores, axis=1, keepdims=True) - whole / np.linalg.norm(
        whole, axis=1, keepdims=True
    )
    batch = Batch(
        users=6,
        input_users=np.nonzero(inputs)[0],
        input_items=np.nonzero(inputs)[1],
        input_weights=np.float32(unit[inputs > 0]),
        input_shares=np.float32(np.linalg.norm(inputs, axis=1) / np.linalg.norm(whole, axis=1)),
        target_users=np.nonzero(whole)[0],
        target_items=np.nonzero(whole)[1],
        target_weights=np.float32(3 * whole[whole > 0]),
        candidates=np.arange(10),
        log_inclusion=np.float32(0),
    )
    loss = float(elsa.loss(batch, np.zeros(2, np.int32), np.float32(0), 0))
    assert loss == pytest.approx(np.mean(np.sum(difference**2, axis=1)), rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 30.0])
def test_the_sampled_likelihood_is_an_estimate_of_the_full_one(temperature: float) -> None:
    rng = np.random.default_rng(1)
    items, users = 2000, 8
    vectors = (rng.standard_normal((items, 4)) * 0.3).astype(np.float32)
    codes = rng.standard_normal((users, 4)).astype(np.float32) / temperature
    logits = codes.astype(np.float64) @ vectors.T
    targets = rng.integers(0, items, users)
    full = np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(users), targets])

    def decode(chosen: np.ndarray[tuple[int], np.dtype[np.int64]]) -> tuple[object, float]:
        return tf.gather(vectors, chosen), 0.0

    def likelihood(candidates: np.ndarray[tuple[int], np.dtype[np.int64]], log_inclusion: float) -> float:
        nothing = np.empty(0, np.int64)
        batch = Batch(
            users=users,
            input_users=nothing,
            input_items=nothing,
            input_weights=np.empty(0, np.float32),
            input_shares=np.ones(users, np.float32),
            target_users=np.arange(users),
            target_items=targets,
            target_weights=np.ones(users, np.float32),
            candidates=candidates,
            log_inclusion=np.float32(log_inclusion),
        )
        return float(negative_log_likelihood(tf.constant(codes), decode, batch))

    assert likelihood(np.arange(items), 0.0) == pytest.approx(full, rel=1e-5)
    samples = [likelihood(rng.integers(0, items, 500), np.log(500 / items)) for _ in range(40)]
    assert np.mean(samples) == pytest.approx(full, abs=4 * np.std(samples) / np.sqrt(40) + 2e-3)
