"""Settings of the models: the content autoencoder with its codec, and the interaction autoencoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

# Whatever fsspec has a protocol for.
RegistryUrl = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9+.-]*://.")]
InteractionKind = Literal["multdae", "multvae", "recvae", "elsa", "contrastive", "hybrid"]

# Their scores are no logits.
WITHOUT_LOGITS: Final[frozenset[InteractionKind]] = frozenset({"elsa", "hybrid"})


class Section(BaseModel):
    """A group of settings. Unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ContentSettings(Section):
    """The content autoencoder. Kind, network, loss and codec are chosen independently."""

    kind: Literal["vanilla", "overcomplete", "sparse", "denoising", "variational"] = Field(
        "vanilla", description="Kind of autoencoder; the README says what each is for."
    )
    network: Literal["dense", "residual", "convolutional"] = Field(
        "dense", description="residual starts as PCA and is best for compression; convolutional is for images."
    )
    latent_dim: int = Field(32, ge=1, le=4096, description="Width of the latent; with int8 also the bytes of a code.")
    hidden: list[int] = Field([256, 128], description="Widths of the hidden layers; filters if convolutional.")
    loss: Literal["squared", "binary", "cosine", "multinomial"] = Field(
        "squared",
        description="Reconstruction loss: binary for pixels and flags, cosine for directions, multinomial for counts.",
    )
    tails: Literal["linear", "logarithmic"] = Field(
        "linear", description="How far-off values count; logarithmic to find anomalies, or where a few are huge."
    )
    epochs: int = Field(
        60, ge=0, description="Most passes over the items before the codec; may stop early. 0: none, with residual."
    )
    weight_decay: float = Field(1e-4, ge=0, description="Higher where a model learns its items by heart.")
    codec: Literal["float32", "float16", "int8", "product", "residual", "pairs"] = Field(
        "int8", description="What becomes of a latent in Redis: residual is smallest, pairs is for top_k."
    )
    code_bytes: int = Field(32, ge=1, le=1024, description="Bytes of a code, with product and residual.")
    candidates: int = Field(
        8, ge=1, le=32, description="Codes that are decoded to find an item's best, with residual; 1 is fastest."
    )
    codec_epochs: int = Field(20, ge=1, description="Passes in which network and residual codec learn together.")
    tuning_epochs: int = Field(
        5, ge=0, description="Passes in which the decoder learns what the codec gives back, at the end."
    )
    shift_share: float = Field(0.0, ge=0, le=1, description="Share of images that training moves by up to a pixel.")
    penalty: Literal["contractive", "l1", "kl", "top_k"] = Field(
        "l1", description="Of the kinds sparse and overcomplete; contractive is for the latter."
    )
    penalty_weight: float = Field(1e-3, ge=0, description="Factor of that penalty.")
    active: int = Field(8, ge=1, le=4096, description="Units of the latent that speak for an item, with top_k.")
    corruption: Literal["gaussian", "masking", "salt_and_pepper"] = Field(
        "gaussian", description="What the kind denoising learns to remove."
    )
    corruption_amount: float = Field(
        0.3, ge=0, description="Standard deviation, for standardised features; else the share of values hit."
    )
    beta: float = Field(0.1, ge=0, description="Weight of the KL divergence of the kind variational; 1 is the ELBO.")
    warm_up: float = Field(0.3, ge=0, le=1, description="Share of the training in which beta grows from 0.")
    false_alarm_rate: float = Field(
        0.01, gt=0, lt=1, description="Share of usual items that are marked as anomalies, measured in validation."
    )


class ModelSettings(Section):
    """Where models are and how they are trained."""

    registry: RegistryUrl | Path | None = Field(
        None,
        union_mode="left_to_right",
        description="Directory of model bundles, or a URL such as s3://bucket/models; default: `models` under `home`.",
    )
    content: ContentSettings = ContentSettings()
    interaction_kind: InteractionKind = Field(
        "multvae", description="Kind of interaction autoencoder; the README says what each is for."
    )
    user_dim: int = Field(64, ge=1, le=1024, description="Width of the user code.")
    item_bytes: int = Field(
        64, ge=1, le=1024, description="Bytes for the vector that an item is ranked by, without its bias."
    )
    interaction_hidden: int = Field(256, ge=1, description="Width of the interaction encoder's first layer.")
    interaction_popularity: float = Field(
        0.0,
        ge=-2,
        le=2,
        description="Above 0 popular items are recommended more than the training says, for where people turn to them"
        " more than their histories tell; below 0 less. New items count as of average popularity. Not with elsa and"
        " hybrid.",
    )
    interaction_epochs: int = Field(100, ge=1, description="Most passes over the users; stops early.")
    seed: int = Field(0, ge=0, description="Two trainings with the same seed and data give the same model.")

    @model_validator(mode="after")
    def _popularity_needs_logits(self) -> Self:
        if self.interaction_popularity and self.interaction_kind in WITHOUT_LOGITS:
            raise ValueError(
                f"interaction_popularity must be 0 with the kind {self.interaction_kind}, whose scores are no logits"
            )
        return self
