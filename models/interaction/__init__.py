"""Interaction autoencoders: from a user's history to a code, and from the code to a score for each item.

    bag    = sum_i  (weight_i / |weights|) * embedding_i         (the first layer, on the host)
    u      = user_encoder(bag)                                   (what the kinds differ in)
    score  = w_i . u + b_i                                       (the last layer: an inner product)

Each kind is a class in a module of its own; :class:`InteractionAutoencoder` is what they have in common.
"""

from __future__ import annotations

from typing import Any, Final

from models.interaction.bags import weighted_bags
from models.interaction.base import Batch, InteractionAutoencoder
from models.interaction.config import InteractionConfig
from models.interaction.contrastive import Contrastive
from models.interaction.elsa import Elsa
from models.interaction.hybrid import Hybrid
from models.interaction.multdae import MultDae
from models.interaction.multvae import MultVae
from models.interaction.recvae import RecVae
from schemas.model_settings import InteractionKind, ModelSettings

__all__ = [
    "KINDS",
    "Batch",
    "InteractionAutoencoder",
    "InteractionConfig",
    "build_autoencoder",
    "build_user_encoder",
    "interaction_config",
    "is_linear",
    "weighted_bags",
]

KINDS: Final[dict[InteractionKind, type[InteractionAutoencoder]]] = {
    "multdae": MultDae,
    "multvae": MultVae,
    "recvae": RecVae,
    "elsa": Elsa,
    "contrastive": Contrastive,
    "hybrid": Hybrid,
}


def interaction_config(settings: ModelSettings) -> InteractionConfig:
    """Return the architecture that the settings ask for."""
    kind = settings.interaction_kind
    hidden = settings.user_dim if KINDS[kind].linear else settings.interaction_hidden
    return InteractionConfig(kind, hidden, settings.user_dim)


def build_autoencoder(config: InteractionConfig, items: int, seed: int) -> InteractionAutoencoder:
    """Return an untrained autoencoder over ``items`` items."""
    return KINDS[config.kind](config, items, seed)


def build_user_encoder(config: InteractionConfig, seed: int = 0) -> Any:
    """Return the Keras model from bags ``[batch, hidden]`` to user codes ``[batch, user_dim]``."""
    return KINDS[config.kind].build_user_encoder(config, seed)


def is_linear(config: InteractionConfig) -> bool:
    """Return whether a code is a weighted sum of the embeddings, up to a factor that each history has."""
    return KINDS[config.kind].linear
