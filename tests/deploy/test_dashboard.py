"""The dashboard by itself: sound JSON, and each panel says what it shows. With data it is in `tests/e2e`."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.prometheus import ALERTS, DASHBOARD
from workers import metrics

BOARD: dict[str, Any] = json.loads(DASHBOARD.read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]


def named(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:latentstream|process)_\w+", expression))


def test_each_panel_has_a_place_a_unit_a_description_and_a_variable_source() -> None:
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]), panel["title"]


def test_each_query_is_limited_to_the_namespace_wherever_it_names_a_metric() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            for selector in re.findall(r"\b(?:latentstream|process)_\w+(\{[^}]*\})?", target["expr"]):
                assert 'namespace=~"$namespace"' in selector, panel["title"]


def test_what_an_alert_compares_is_on_the_dashboard() -> None:
    shown = set().union(*(named(target["expr"]) for panel in PANELS for target in panel["targets"]))
    alerts = set().union(*map(named, re.findall(r"^ +expr: .*(?:\n {10}.*)*", ALERTS.read_text(), re.MULTILINE)))
    assert alerts
    assert alerts <= shown


@pytest.mark.parametrize("text", [DASHBOARD.read_text(), ALERTS.read_text()], ids=["dashboard", "alerts"])
def test_every_metric_that_is_named_is_declared(text: str) -> None:
    declared = {sample for family in metrics.REGISTRY.collect() for sample in _sample_names(family.name, family.type)}
    assert named(text) <= declared


def _sample_names(name: str, kind: str) -> list[str]:
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(kind, [""])
    return [name + suffix for suffix in suffixes]
