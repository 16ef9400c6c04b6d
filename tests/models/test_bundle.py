from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle, BundleError
from models.registry import Registry
from models.training import Trained
from tests.models import boards
from tests.models.test_space import placed


@pytest.fixture(scope="module")
def saved(trained_both: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_both.save(tmp_path_factory.mktemp("registry"))


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / saved.name))


def test_a_loaded_bundle_computes_the_same_bits(trained: Trained, tmp_path: Path) -> None:
    bundle = Bundle.load(trained.save(tmp_path))
    before, after = placed(trained.parts), placed(bundle)
    assert after.known.tolist() == before.known.tolist()
    assert after.retrieval.tobytes() == before.retrieval.tobytes()
    assert after.embeddings.tobytes() == before.embeddings.tobytes()
    bags = np.random.default_rng(0).normal(size=(300, bundle.space.embedding_dim)).astype(np.float32)
    codes = trained.parts.space.user_codes(bags)
    assert bundle.space.user_codes(bags).tobytes() == codes.tobytes()
    assert bundle.user_codec.encode(codes).tobytes() == trained.parts.user_codec.encode(codes).tobytes()
    if bundle.content is not None and trained.parts.content is not None:
        features = boards.colours(300, seed=5)
        loaded, original = bundle.content.encode(features), trained.parts.content.encode(features)
        assert loaded[0].tobytes() == original[0].tobytes()
        assert loaded[1].tobytes() == original[1].tobytes()
    assert list(bundle.space.vocabulary) == list(trained.parts.space.vocabulary)
    assert bundle.snapshot is not None
    assert trained.parts.snapshot is not None
    assert (bundle.snapshot.items, bundle.snapshot.users) == (boards.SIDE, trained.parts.snapshot.users)
    assert (bundle.snapshot.popularity is None) == (trained.parts.snapshot.popularity is None)
    assert bundle.space.seeded == trained.parts.space.seeded


def test_the_manifest_says_what_was_trained(saved: Path, trained_both: Trained) -> None:
    manifest = Bundle.load(saved).manifest
    assert manifest.version == saved.name
    assert manifest.version.startswith("both-")
    assert manifest.offsets == {"items": {0: boards.SIDE, 1: 7}}
    assert manifest.metrics == trained_both.report.metrics
    assert manifest.settings["user_dim"] == boards.SETTINGS.user_dim
    assert manifest.trained_items == boards.SIDE
    assert manifest.content is not None
    assert manifest.content.input_shape == (6,)


def test_saving_the_same_model_twice_gives_the_same_version(saved: Path, trained_both: Trained) -> None:
    changed = [path.stat().st_mtime_ns for path in saved.iterdir()]
    assert trained_both.save(saved.parent) == saved
    assert [path.stat().st_mtime_ns for path in saved.iterdir()] == changed
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_flipped_byte_is_found_in_every_file(copy: Path) -> None:
    for path in sorted(copy.iterdir()):
        good = path.read_bytes()
        damaged = bytearray(good)
        damaged[len(damaged) // 2] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(BundleError, match=path.name):
            Bundle.load(copy)
        path.write_bytes(good)
    assert Bundle.load(copy).version == copy.name


def test_a_bundle_without_a_snapshot_is_loaded(trained_both: Trained, tmp_path: Path) -> None:
    """As all were before there were any."""
    before = replace(trained_both, parts=replace(trained_both.parts, snapshot=None))
    assert trained_both.parts.snapshot is not None
    assert Bundle.load(before.save(tmp_path)).snapshot is None


def test_a_truncated_file_is_found(copy: Path) -> None:
    for path in sorted(copy.iterdir()):
        good = path.read_bytes()
        path.write_bytes(good[:-1])
        with pytest.raises(BundleError, match=path.name):
            Bundle.load(copy)
        path.write_bytes(good)


def test_a_missing_file_is_found(copy: Path) -> None:
    (copy / "space.npz").unlink()
    with pytest.raises(BundleError, match=r"no file space\.npz"):
        Bundle.load(copy)


def test_an_extra_file_is_found(copy: Path) -> None:
    (copy / "extra.pkl").write_bytes(b"")
    with pytest.raises(BundleError, match=r"unknown file extra\.pkl"):
        Bundle.load(copy)


def test_a_link_in_place_of_a_file_is_refused(copy: Path, tmp_path: Path) -> None:
    moved = (copy / "space.npz").rename(tmp_path / "elsewhere.npz")
    (copy / "space.npz").symlink_to(moved)
    with pytest.raises(BundleError, match=r"space\.npz"):
        Bundle.load(copy)


def test_an_edited_manifest_is_found(copy: Path) -> None:
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["metrics"]["interaction_validation_ndcg_at_20"] = 0.99
    path.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="changed after it was saved"):
        Bundle.load(copy)
    path.write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(BundleError, match="format 99"):
        Bundle.load(copy)
    path.unlink()
    with pytest.raises(BundleError, match="not a model"):
        Bundle.load(copy)


def test_a_failed_save_leaves_nothing(trained_both: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("models.bundle._sync", full)
    with pytest.raises(OSError, match="No space"):
        trained_both.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_registry_lists_and_loads(saved: Path, tmp_path: Path) -> None:
    registry = Registry(saved.parent)
    assert registry.versions() == [saved.name]
    assert registry.load(saved.name).version == saved.name
    (saved.parent / ".unfinished-x").mkdir()
    assert registry.versions() == [saved.name]
    (saved.parent / ".unfinished-x").rmdir()
    assert Registry(tmp_path / "none").versions() == []


@pytest.mark.parametrize("version", ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "a\n", "a:b", "x" * 101, "a\0"])
def test_a_registry_reaches_nothing_but_its_versions(version: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not the name"):
        Registry(tmp_path).load(version)


def test_missing_and_renamed_versions_are_said_to_be_so(copy: Path) -> None:
    with pytest.raises(BundleError, match="there is no model other"):
        Registry(copy.parent).load("other")
    renamed = copy.rename(copy.parent / "renamed")
    with pytest.raises(BundleError, match="must not be renamed"):
        Registry(copy.parent).load(renamed.name)


@pytest.mark.parametrize("prefix", ["", "../x", "a b", "x" * 100])
def test_unsafe_version_prefixes_are_refused(prefix: str, trained_both: Trained, tmp_path: Path) -> None:
    unsafe = Trained(trained_both.parts, trained_both.report, {}, prefix, trained_both.settings, {}, None)
    with pytest.raises(ValueError, match="version prefix"):
        unsafe.save(tmp_path)
