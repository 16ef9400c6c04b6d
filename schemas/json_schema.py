"""The JSON Schema of each document that other languages write or read.

``python -m schemas.json_schema`` writes them to ``schemas/json/``; a test compares the two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from schemas.documents import QueryReply, QueryRequest, Recommendations
from schemas.events import AnomalyEvent, InteractionEvent, ItemEvent

DIRECTORY: Final = Path(__file__).parent / "json"
DOCUMENTS: Final[dict[str, object]] = {
    "item": ItemEvent,
    "interaction": InteractionEvent,
    "anomaly": AnomalyEvent,
    "recommendations": Recommendations,
    "query-request": QueryRequest,
    "query-reply": QueryReply,
}


def render(name: str) -> str:
    """Return the JSON Schema (draft 2020-12) of the document called ``name``, as indented JSON."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | msgspec.json.schema(DOCUMENTS[name])
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


if __name__ == "__main__":
    DIRECTORY.mkdir(exist_ok=True)
    for document in DOCUMENTS:
        (DIRECTORY / f"{document}.schema.json").write_text(render(document))
