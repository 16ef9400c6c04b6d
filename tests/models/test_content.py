from __future__ import annotations

import numpy as np
import pytest

from models.anomaly import Detector
from models.content import ContentModel
from models.scaling import Scaling
from models.training import Trained
from tests.models import boards


@pytest.fixture
def model(trained_both: Trained) -> ContentModel:
    assert trained_both.parts.content is not None
    return trained_both.parts.content


def test_reconstruction_explains_most_of_the_features(model: ContentModel) -> None:
    features = boards.colours(300, seed=9)
    codes, errors, _ = model.encode(features)
    assert codes.shape == (300, model.code_bytes) == (300, 3)
    assert codes.dtype == np.uint8
    # The colour is one dimension; the rest is noise of variance .01.
    assert errors.mean() < 0.05 < np.var(features, axis=0).mean()


def test_error_is_what_a_reader_decodes(model: ContentModel) -> None:
    features = boards.colours(50, seed=2)
    codes, errors, _ = model.encode(features)
    difference = features.astype(np.float64) - model.reconstruct(codes)
    np.testing.assert_allclose(errors, np.mean(difference**2, axis=1), rtol=1e-6)
    assert np.array_equal(model.latents(codes), model.codec.decode(codes))


def test_an_item_unlike_all_others_has_a_larger_error(model: ContentModel) -> None:
    usual, odd = boards.colours(40), np.array([[1, 1, 1, 3, -3, 0]], np.float32)
    assert model.encode(odd)[1][0] > 10 * model.encode(usual)[1].max()


def test_a_row_does_not_depend_on_its_company_or_its_place(model: ContentModel) -> None:
    features = np.random.default_rng(0).normal(size=(700, 6)).astype(np.float32)
    codes, errors, scores = model.encode(features)
    pixels = model.reconstruct(codes)
    order = np.random.default_rng(1).permutation(700)
    for rows in (order, order[:3], order[300:557], *(np.array([row]) for row in (0, 255, 256, 699))):
        own_codes, own_errors, own_scores = model.encode(features[rows])
        assert own_codes.tobytes() == codes[rows].tobytes()
        assert own_errors.tobytes() == errors[rows].tobytes()
        assert own_scores.tobytes() == scores[rows].tobytes()
        assert model.reconstruct(own_codes).tobytes() == pixels[rows].tobytes()


def test_huge_features_are_encoded_with_a_huge_error(model: ContentModel) -> None:
    codes, errors, scores = model.encode(np.full((1, 6), 3e38, np.float32))
    assert codes.shape == (1, 3)
    assert errors[0] > 1e38
    assert np.isfinite(scores[0])
    assert scores[0] > 1
    assert np.isfinite(model.reconstruct(codes)).all()


def test_items_unlike_the_training_items_are_marked_and_usual_ones_are_not(model: ContentModel) -> None:
    odd = np.array([[1, 1, 1, 3, -3, 0], [9, 9, 9, 9, 9, 9]], np.float32)
    assert (model.encode(odd).scores > 1).all()
    assert np.mean(model.encode(boards.colours(2000, seed=7)).scores > 1) < 0.35  # 4 items calibrated it


def test_the_rate_of_false_alarms_is_about_what_was_asked_for() -> None:
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(9000, 4)).astype(np.float32)
    errors = rng.gamma(2, size=9000).astype(np.float32)
    detector = Detector.fit(latents[:4000], latents[4000:6000], errors[4000:6000], false_alarm_rate=0.05, seed=0)
    assert np.mean(detector.score(latents[6000:], errors[6000:]) > 1) == pytest.approx(0.05, abs=0.015)
    far, unlike = np.full((1, 4), 8, np.float32), np.zeros((1, 4), np.float32)
    assert detector.score(far, np.ones(1, np.float32)) > 1
    assert detector.score(unlike, np.full(1, 1000, np.float32)) > 1
    assert detector.score(unlike, np.ones(1, np.float32)) < 1


def test_distances_between_latents_far_from_the_origin_are_exact() -> None:
    latents = (1000 + np.random.default_rng(0).normal(scale=0.01, size=(3000, 4))).astype(np.float32)
    errors = np.ones(3000, np.float32)
    detector = Detector.fit(latents[:2000], latents[2000:2500], errors[2000:2500], false_alarm_rate=0.05, seed=0)
    assert np.mean(detector.score(latents[2500:], errors[2500:]) > 1) < 0.1
    assert (detector.score(latents[2500:] + np.float32(0.05), errors[2500:]) > 1).all()


def test_copies_of_an_item_do_not_make_all_others_anomalies() -> None:
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(3000, 4)).astype(np.float32)
    latents[rng.random(3000) < 0.6] = 0.5
    errors = np.ones(3000, np.float32)
    detector = Detector.fit(latents[:2000], latents[2000:2500], errors[2000:2500], false_alarm_rate=0.05, seed=0)
    assert np.mean(detector.score(latents[2500:], errors[2500:]) > 1) == pytest.approx(0.05, abs=0.03)
    assert (detector.score(np.full((1, 4), 8, np.float32), errors[:1]) > 1).all()


def test_wrong_features_are_refused(model: ContentModel) -> None:
    with pytest.raises(ValueError, match=r"shape \[rows, 6\]"):
        model.encode(np.zeros((1, 5), np.float32))
    with pytest.raises(ValueError, match="row 1"):
        model.encode(np.array([[0] * 6, [0, 0, np.nan, 0, 0, 0]], np.float32))
    assert model.encode(np.empty((0, 6), np.float32))[0].shape == (0, 3)


def test_scaling_of_pixels_is_shared_and_of_vectors_is_not() -> None:
    features = np.array([[0, 10, 5], [2, 30, 5]], np.float32)
    own = Scaling.fit(features, shared_scale=False)
    assert own.scale.tolist() == [1, 10, 1]
    assert own.scaled(features).tolist() == [[-1, -1, 0], [1, 1, 0]]
    shared = Scaling.fit(features, shared_scale=True)
    np.testing.assert_allclose(shared.scale, np.sqrt((1 + 100 + 0) / 3), rtol=1e-6)
    assert shared.restore(np.array([[99, -99, 0]], np.float32)).tolist() == [[2, 10, 5]]


def test_logarithmic_tails_keep_the_middle_and_shorten_the_ends() -> None:
    features = (np.random.default_rng(0).standard_t(2, size=(5000, 2)) * [1, 1e4]).astype(np.float32)
    own = Scaling.fit(features, shared_scale=False, tails="logarithmic")
    scaled = own.scaled(features)
    np.testing.assert_allclose(scaled.std(axis=0), 1, rtol=1e-3)
    assert np.abs(scaled).max() < 0.4 * np.abs(Scaling.fit(features, shared_scale=False).scaled(features)).max()
    assert (np.diff(scaled[np.argsort(features[:, 1]), 1]) >= 0).all()
    np.testing.assert_allclose(own.restore(scaled), features, rtol=1e-4, atol=1)
    assert np.isfinite(own.scaled(np.full((1, 2), -3e38, np.float32))).all()
    assert own.restore(np.full((1, 2), 1e6, np.float32)).tolist() == [features.max(axis=0).tolist()]
    assert Scaling(**own.arrays()).scaled(features).tobytes() == scaled.tobytes()
    with pytest.raises(ValueError, match="squared loss"):
        Scaling.fit(features, loss="cosine", shared_scale=False, tails="logarithmic")
