"""Training of the retrieval side of a model: the interaction autoencoder, its codes and the bridge."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.arrays import Floats, Ints
from models.bridge import Bridge
from models.bridge_targets import retrieval_targets
from models.bundle import Bundle
from models.checkpoints import Checkpoints
from models.content_training import TrainedContent
from models.fitting import ReportEpoch
from models.histories import Histories
from models.interaction import interaction_config
from models.interaction_training import Start, TrainedInteractions, train_interactions
from models.retrieval_codes import RetrievalCodes
from models.space import ContentSpace, InteractionSpace, LatentSpace
from models.training_data import MIN_ITEMS, TrainingData
from schemas.model_settings import ModelSettings


def begin_with(
    data: TrainingData,
    trained_items: Ints,
    names: list[str],
    settings: ModelSettings,
    predecessor: Bundle | None,
    notes: list[str],
) -> Start | None:
    """Return where a predecessor places the items that are trained; None where it can place none."""
    if predecessor is None or not isinstance(space := predecessor.space, InteractionSpace):
        return None
    if space.config != interaction_config(settings):
        notes.append("The interaction autoencoder began anew: the current model's has another architecture.")
        return None
    latents, content = None, predecessor.content
    new = data.has_features[trained_items] & np.array([name not in space.vocabulary for name in names])
    if data.features is not None and content is not None and content.input_shape == data.input_shape and new.any():
        latents = np.zeros((len(names), content.latent_dim), np.float32)
        latents[new] = content.latents(content.codes(data.features[trained_items[new]]))
    placed = space.place(names, latents, new)
    weights = space.user_encoder.get_weights()
    return Start(placed.known, placed.embeddings, placed.retrieval, weights, predecessor.manifest.trained_until)


def fit_interactions(
    histories: Histories,
    items: int,
    settings: ModelSettings,
    start: Start | None,
    report: Callable[[str], ReportEpoch],
    checkpoints: Checkpoints | None,
) -> TrainedInteractions:
    """Return the trained network of ``histories`` over so many items; ``report`` gives what is told of a stage."""
    return train_interactions(
        histories,
        items,
        interaction_config(settings),
        epochs=settings.interaction_epochs,
        seed=settings.seed,
        popularity=settings.interaction_popularity,
        start=start,
        report_trial=report("autoencoder, finding the number of epochs"),
        report_final=report("autoencoder, on all interactions"),
        checkpoints=checkpoints,
    )


def interaction_space(
    data: TrainingData,
    histories: Histories,
    trained_items: Ints,
    names: list[str],
    content: TrainedContent | None,
    settings: ModelSettings,
    trained: TrainedInteractions,
) -> InteractionSpace:
    """Return the space of a trained network; how good its bridge is joins the metrics."""
    network = trained.network
    bridge = None
    if content is not None and (both := data.has_features[trained_items]).sum() >= MIN_ITEMS:
        # Rows of `content.latents` are the items with features, in their order.
        rows = np.cumsum(data.has_features)[trained_items[both]] - 1
        wanted = retrieval_targets(trained.user_codes, histories, network.retrieval)
        targets = np.concatenate([wanted, network.embeddings], axis=1)[both]
        counts = np.bincount(histories.items, minlength=len(trained_items))[both]
        bridge, trained.metrics["bridge_validation_r2"] = Bridge.fit(
            content.latents[rows], targets, network.config.user_dim + 1, counts, settings.seed
        )
    codes = RetrievalCodes.fit(network.retrieval, settings.item_bytes, settings.seed)
    return InteractionSpace(
        network.config, names, codes, network.embeddings, network.user_encoder, bridge, seeded=not data.published
    )


def content_space(content: TrainedContent) -> tuple[LatentSpace, Floats]:
    """Return the space of the latents; its user codes are fitted on the items, which lie where users may."""
    space = ContentSpace(content.latents.mean(axis=0))
    everything = np.ones(len(content.latents), bool)
    placement = space.place([""] * len(everything), content.latents, everything)
    return space, placement.embeddings
