"""What an autoencoder is made of, as the manifest stores it."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Kind = Literal["vanilla", "overcomplete", "sparse", "denoising", "variational"]
NetworkName = Literal["dense", "residual", "convolutional"]
LossName = Literal["squared", "binary", "cosine", "multinomial"]
PenaltyName = Literal["contractive", "l1", "kl", "top_k"]
CorruptionName = Literal["gaussian", "masking", "salt_and_pepper"]

_Width = Annotated[int, Meta(ge=1)]
_Weight = Annotated[float, Meta(ge=0)]


class AutoencoderConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Kind, network and loss are chosen independently: a convolutional variational one is two words.

    Args:
        input_shape: of one item: (features,), (height, width) or (height, width, channels).
        latent_dim: width of the latent.
        hidden: widths of the dense encoder's layers, or filters of the convolutional one's; the decoder has
            them in reverse.
        kind: what is done to the latent and its input, a file of this package each.
        network: layers.
        loss: reconstruction loss, see :mod:`models.autoencoders.losses`.
        penalty: of the sparse and overcomplete kinds.
        penalty_weight: factor of that penalty.
        active: units of the latent that stay non-zero with ``top_k``.
        corruption: of the denoising kind's input.
        corruption_amount: standard deviation in standardised units (gaussian), else the share of values hit.
        beta: factor of the variational kind's KL divergence; 1 is the evidence lower bound.
        warm_up: share of the training in which ``beta`` grows from 0.
        weight_decay: decoupled (AdamW).
    """

    input_shape: tuple[_Width, ...]
    latent_dim: _Width
    hidden: tuple[_Width, ...]
    kind: Kind = "vanilla"
    network: NetworkName = "dense"
    loss: LossName = "squared"
    penalty: PenaltyName = "l1"
    penalty_weight: _Weight = 1e-3
    active: _Width = 8
    corruption: CorruptionName = "gaussian"
    corruption_amount: _Weight = 0.3
    beta: _Weight = 1.0
    warm_up: Annotated[float, Meta(ge=0, le=1)] = 0.3
    weight_decay: _Weight = 1e-4

    @property
    def input_dim(self) -> int:
        """Values of one item."""
        return math.prod(self.input_shape)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels.

        Raises:
            ValueError: items are not images.
        """
        match self.input_shape:
            case (height, width):
                return height, width, 1
            case (height, width, channels):
                return height, width, channels
        raise ValueError(
            f"a convolutional network needs images, [height, width] or [height, width, channels], not items of shape"
            f" {list(self.input_shape)}: set the network to dense"
        )
