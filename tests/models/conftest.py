from __future__ import annotations

import pytest

from models.training import Trained, train
from tests.models import boards


@pytest.fixture(scope="session")
def trained_both() -> Trained:
    return train(boards.both(), boards.SETTINGS, "both")


@pytest.fixture(scope="session")
def trained_content() -> Trained:
    return train(boards.both(interactions=False), boards.SETTINGS, "content")


@pytest.fixture(scope="session")
def trained_interactions() -> Trained:
    return train(boards.both(features=False, published=False), boards.SETTINGS, "interactions")


@pytest.fixture(params=["trained_both", "trained_content", "trained_interactions"])
def trained(request: pytest.FixtureRequest) -> Trained:
    """A model of each kind of data."""
    value = request.getfixturevalue(request.param)
    assert isinstance(value, Trained)
    return value
