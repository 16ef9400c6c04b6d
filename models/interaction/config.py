"""What an interaction autoencoder looks like."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.model_settings import InteractionKind

Width = Annotated[int, Meta(ge=1)]


class InteractionConfig(msgspec.Struct, frozen=True):
    """The architecture: ``hidden`` is the width of the embeddings and of the bag, ``user_dim`` of the code.

    The linear kinds have no layer in between, and ``hidden`` is ``user_dim``.
    """

    kind: InteractionKind
    hidden: Width
    user_dim: Width
