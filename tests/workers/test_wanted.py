"""Scores as they are stored."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workers.wanted import rounded


@given(scores=st.lists(st.floats(width=32, allow_nan=False), max_size=50))
def test_scores_have_six_digits(scores: list[float]) -> None:
    found = rounded(np.array(scores, np.float32))
    expected = [float(f"{score:.6g}") for score in scores]
    # A score that lies in the middle of two may be rounded to either.
    for one, other, score in zip(found, expected, scores, strict=True):
        assert one == other or (abs(one - score) == abs(other - score) and float(f"{one:.6g}") == one)
