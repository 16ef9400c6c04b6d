"""Columns against the slow definition of what a filter means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from models import attributes as module
from models.attributes import AttributeColumns
from schemas.events import Attribute
from schemas.filters import matches, parse_filter

# Few of each, so that they meet; and of each type some that Python takes for equal.
names = st.sampled_from(["a", "b", "c", "d", "e"])
scalars = st.sampled_from(["", "x", "y", True, False, 0, 1, 0.0, 1.5, -1, 10**400, -(10**400)])
values = scalars | st.none() | st.lists(st.sampled_from(["", "x", "y"]), max_size=3)
askable = st.sampled_from(["", "x", "y", True, False, 0, 1, 1.5, -1])
conditions = st.one_of(
    st.dictionaries(names, askable, max_size=2),
    st.dictionaries(names, st.fixed_dictionaries({"in": st.lists(askable, max_size=4)}), min_size=1, max_size=2),
    st.dictionaries(
        names,
        st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), st.sampled_from([-1, 0, 1, 1.5]), min_size=1),
        min_size=1,
        max_size=2,
    ),
)
filters: st.SearchStrategy[Any] = st.recursive(
    conditions,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"and": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"or": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"not": inner}),
    ),
    max_leaves=5,
)


class AgainstTheDefinition(RuleBasedStateMachine):
    """Any order of changes, sweeps and names beyond the limit gives what the definition gives."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(module, "_COLUMNS", 3)
        self.patch.setattr(module, "_STALE", 20)
        self.columns = AttributeColumns()
        self.items: dict[int, dict[str, Attribute]] = {}

    @rule(items=st.dictionaries(st.integers(0, 30), st.dictionaries(names, values, max_size=4), max_size=12))
    def replace(self, items: dict[int, dict[str, Attribute]]) -> None:
        self.columns.replace(np.array(list(items), np.int64), list(items.values()))
        self.items |= items

    @rule(document=filters)
    def look_up(self, document: object) -> None:
        condition = parse_filter(document)
        mask = self.columns.mask(condition)
        assert len(mask) == self.columns.size > max(self.items, default=-1)
        assert mask.tolist() == [matches(condition, self.items.get(slot, {})) for slot in range(len(mask))]

    def teardown(self) -> None:
        self.patch.undo()


TestAgainstTheDefinition = AgainstTheDefinition.TestCase
TestAgainstTheDefinition.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_names_without_end_do_not_take_memory_without_end() -> None:
    columns = AttributeColumns()
    for start in range(0, 300_000, 1000):
        columns.replace(np.arange(1000), [{f"name-{start + n}": n} for n in range(1000)])
    assert len(columns._own) <= module._COLUMNS
    # What is live, what may be stale, and what is appended before the next sweep.
    assert len(columns._shared) <= 3 * module._STALE
    assert columns.mask(parse_filter({"name-299007": {"gte": 7}})).nonzero()[0].tolist() == [7]
    assert not columns.mask(parse_filter({"name-7": 7})).any()
