"""The JSON Schema files for producers and readers in other languages."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import msgspec
import pytest

from schemas.documents import QueryReply, Recommendations, UserQuery, VectorQuery, recommendation_order
from schemas.events import AnomalyEvent, Image, InteractionEvent, ItemEvent, encode
from schemas.json_schema import DIRECTORY, DOCUMENTS, render


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema: dict[str, Any] = json.loads((DIRECTORY / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_checked_in_file_is_the_generated_one(name: str) -> None:
    found = (DIRECTORY / f"{name}.schema.json").read_text()
    assert found == render(name), "run `python -m schemas.json_schema`"


def test_there_is_no_other_file() -> None:
    assert {path.name for path in DIRECTORY.iterdir()} == {f"{name}.schema.json" for name in DOCUMENTS}


GOOD: list[tuple[str, object]] = [
    ("item", ItemEvent(item_id="a")),
    ("item", ItemEvent(item_id="a", features=[1.0, 2.5], attributes={"price": 3, "tags": ["x"], "sold": None})),
    ("item", ItemEvent(item_id="a", features=b"\x00\x01", dtype="uint8", available=False)),
    ("item", ItemEvent(item_id="a", image=Image([1, 2], b"ab"))),
    ("interaction", InteractionEvent(user_id="u", item_id="a")),
    ("interaction", InteractionEvent(user_id="u", item_id="a", kind="buy", weight=0, timestamp=1.5)),
    ("anomaly", AnomalyEvent("a", 1.0000001, 0.0, "v1", "items", 0, 0, 1.5)),
    ("recommendations", Recommendations(recommendation_order(3, 7), "u", "v1", "model", 1.5, ["a"], [0.25])),
    ("query-request", UserQuery(id="1", user_id="u", k=5)),
    ("query-request", VectorQuery(id="1", features=[1.0])),
    ("query-reply", QueryReply(id="1", status="error", error="unknown item")),
]


@pytest.mark.parametrize(("name", "document"), GOOD)
def test_what_we_write_is_valid(name: str, document: object) -> None:
    written = encode(document) if isinstance(document, ItemEvent | InteractionEvent) else msgspec.json.encode(document)
    validator(name).validate(json.loads(written))


BAD: list[tuple[str, dict[str, object]]] = [
    ("item", {}),
    ("item", {"item_id": ""}),
    ("item", {"item_id": "x" * 257}),
    ("item", {"item_id": "a", "schema_version": 2}),
    ("item", {"item_id": "a", "image": {"shape": [1], "data": "AA=="}}),
    ("interaction", {"user_id": "u"}),
    ("interaction", {"user_id": "u", "item_id": "a", "weight": -1}),
    ("interaction", {"user_id": "u", "item_id": "a", "timestamp": 1_700_000_000_000}),
    ("anomaly", msgspec.to_builtins(AnomalyEvent("a", 1.0, 0.5, "v1", "items", 0, 0, 1.5))),
    ("anomaly", {"item_id": "a", "score": 2.0}),
    ("query-request", {"type": "user", "id": "no spaces", "user_id": "u"}),
    ("query-request", {"type": "user", "id": "1", "user_id": "u", "k": 1001}),
    ("query-reply", {"id": "1", "status": "maybe"}),
]


@pytest.mark.parametrize(("name", "document"), BAD)
def test_what_we_refuse_is_invalid(name: str, document: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validator(name).validate(document)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(document, DOCUMENTS[name])
