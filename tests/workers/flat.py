"""A catalogue whose items lie where their codes say, for tests without a model."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from models.space import Placement
from schemas.records import CodeRecord, version_tag
from workers.catalogue import Catalogue
from workers.item_ids import ItemIds

VERSION = "v1"


class FlatSpace:
    """Every item with a code of two bytes lies where they say."""

    dim = embedding_dim = 2
    vocabulary: dict[str, int] = {}  # noqa: RUF012
    seeded = False

    def place(self, ids: Sequence[str], latents: Any, has_latent: Any) -> Placement:
        embeddings = np.zeros((len(ids), 2), np.float32)
        if latents is not None:
            embeddings[has_latent] = latents[has_latent]
        return Placement(has_latent, np.pad(embeddings, ((0, 0), (0, 1))), embeddings)


def flat_catalogue(item_ids: ItemIds | None = None) -> Catalogue:
    content = SimpleNamespace(code_bytes=2, latent_dim=2, latents=lambda codes: codes.astype(np.float32))
    bundle: Any = SimpleNamespace(version=VERSION, content=content, space=FlatSpace())
    return Catalogue(bundle, item_ids)


def record(code: bytes, tag: int = version_tag(VERSION), **changes: Any) -> bytes:
    return CodeRecord(True, False, 0.5, None, tag, code)._replace(**changes).pack()
