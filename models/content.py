"""The content autoencoder: item features to a code of one byte a latent dimension, and back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Final, Self

import msgspec
import numpy as np
from msgspec import Meta

from models.arrays import Bytes, Floats, float_matrix
from models.codec import Int8Codec
from models.files import load_arrays, load_weights, save_arrays, save_weights
from models.runtime import FixedBatch, keras

Width = Annotated[int, Meta(ge=1)]

_ENCODER: Final = "content_encoder.weights.h5"
_DECODER: Final = "content_decoder.weights.h5"
_CODEC: Final = "content_codec.npz"
_SCALING: Final = "content_scaling.npz"
# Far beyond any standardised value of training, and small enough that no product in a network overflows.
_LARGEST_INPUT: Final = 1e6


class ContentConfig(msgspec.Struct, frozen=True):
    """The architecture. ``hidden`` are the encoder's layers; the decoder has them in reverse."""

    input_shape: tuple[Width, ...]
    latent_dim: Width
    hidden: tuple[Width, ...]

    @property
    def input_dim(self) -> int:
        """Values of one item."""
        return math.prod(self.input_shape)


def build_encoder(config: ContentConfig, seed: int = 0) -> Any:
    """Return the Keras encoder, ``[batch, input_dim]`` in standardised units to ``[batch, latent_dim]``."""
    features = keras.Input((config.input_dim,), name="features")
    hidden = features
    for depth, width in enumerate(config.hidden):
        hidden = _hidden(width, seed + depth, f"hidden_{depth}")(hidden)
    latent = keras.layers.Dense(config.latent_dim, kernel_initializer=_initializer(seed + 100), name="latent")(hidden)
    return keras.Model(features, latent, name="content_encoder")


def build_decoder(config: ContentConfig, seed: int = 0) -> Any:
    """Return the Keras decoder, ``[batch, latent_dim]`` to ``[batch, input_dim]`` in standardised units."""
    latent = keras.Input((config.latent_dim,), name="latent")
    hidden = latent
    for depth, width in enumerate(reversed(config.hidden)):
        hidden = _hidden(width, seed + 200 + depth, f"hidden_{depth}")(hidden)
    output = keras.layers.Dense(config.input_dim, kernel_initializer=_initializer(seed + 300), name="features")(hidden)
    return keras.Model(latent, output, name="content_decoder")


def _hidden(width: int, seed: int, name: str) -> Any:
    # Names are written to the file: left to Keras they would count up, and the same weights differ in bytes.
    return keras.layers.Dense(width, activation="gelu", kernel_initializer=_initializer(seed), name=name)


def _initializer(seed: int) -> Any:
    return keras.initializers.GlorotUniform(seed=seed)


class Scaling(msgspec.Struct, frozen=True):
    """Between input units and the networks' standardised ones; each array is float32 ``[input_dim]``.

    ``low`` and ``high`` are the range seen in training, which what is decoded keeps to.
    """

    mean: Floats
    scale: Floats
    low: Floats
    high: Floats

    @classmethod
    def fit(cls, features: Floats, *, shared_scale: bool) -> Self:
        """Return the scaling of float32 ``[n, input_dim]``.

        With ``shared_scale`` all dimensions have one scale, as pixels should: else the rarely lit ones at
        the border would count as much as the rest.
        """
        wide = features.astype(np.float64)
        deviation = wide.std(axis=0)
        if shared_scale:
            deviation[:] = math.sqrt(float(np.mean(deviation**2)))
        # A feature that never changed in training has no scale of its own.
        deviation[deviation < 1e-6] = 1.0
        return cls(
            wide.mean(axis=0).astype(np.float32),
            deviation.astype(np.float32),
            features.min(axis=0),
            features.max(axis=0),
        )

    def standardise(self, features: Floats) -> Floats:
        """Return ``(features - mean) / scale``, float32 ``[n, input_dim]``."""
        with np.errstate(over="ignore"):
            standard: Floats = np.clip((features - self.mean) / self.scale, -_LARGEST_INPUT, _LARGEST_INPUT)
        return standard

    def restore(self, output: Floats) -> Floats:
        """Return float32 ``[n, input_dim]`` in input units, inside the range seen in training."""
        restored: Floats = np.clip(self.mean + self.scale * output, self.low, self.high)
        return restored

    def arrays(self) -> dict[str, Floats]:
        """Return what the bundle stores."""
        return msgspec.structs.asdict(self)


class ContentModel:
    """A trained autoencoder with its codec. Rows are computed independently of each other, bit for bit."""

    def __init__(self, config: ContentConfig, encoder: Any, decoder: Any, scaling: Scaling, codec: Int8Codec) -> None:
        self.config = config
        self.codec = codec
        self._scaling = scaling
        self._encoder = encoder
        self._decoder = decoder
        self._encode = FixedBatch(encoder, config.input_dim)
        self._decode = FixedBatch(decoder, config.latent_dim)

    @property
    def input_dim(self) -> int:
        """Values of one item."""
        return self.config.input_dim

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one item, such as (28, 28) or (41,)."""
        return self.config.input_shape

    @property
    def latent_dim(self) -> int:
        """Width of the latent."""
        return self.config.latent_dim

    @property
    def code_bytes(self) -> int:
        """Bytes of one code."""
        return self.codec.code_bytes

    def encode(self, features: Floats) -> tuple[Bytes, Floats]:
        """Return codes uint8 ``[n, code_bytes]`` and reconstruction errors float32 ``[n]``.

        The error is the mean over the features of the squared difference, in squared input units, between
        ``features`` (float32 ``[n, input_dim]``) and what a reader decodes from the code.

        Raises:
            ValueError: the width is wrong or a value is NaN or infinite.
        """
        features = float_matrix(features, self.input_dim, "features")
        codes = self.codec.encode(self._encode(self._scaling.standardise(features)))
        difference = features.astype(np.float64) - self.reconstruct(codes)
        with np.errstate(over="ignore"):
            return codes, np.mean(difference * difference, axis=1).astype(np.float32)

    def latents(self, codes: Bytes) -> Floats:
        """Return what the codes decode to, float32 ``[n, latent_dim]``."""
        return self.codec.decode(codes)

    def reconstruct(self, codes: Bytes) -> Floats:
        """Return the features that the codes stand for, float32 ``[n, input_dim]`` in input units."""
        return self._scaling.restore(self._decode(self.latents(codes)))

    def save(self, directory: Path) -> None:
        """Write the model's files into ``directory``."""
        save_weights(directory / _ENCODER, self._encoder)
        save_weights(directory / _DECODER, self._decoder)
        save_arrays(directory / _CODEC, self.codec.arrays())
        save_arrays(directory / _SCALING, self._scaling.arrays())

    @classmethod
    def load(cls, directory: Path, config: ContentConfig) -> Self:
        """Return the model that :meth:`save` wrote."""
        encoder, decoder = build_encoder(config), build_decoder(config)
        load_weights(directory / _ENCODER, encoder)
        load_weights(directory / _DECODER, decoder)
        scaling = Scaling(**load_arrays(directory / _SCALING))
        return cls(config, encoder, decoder, scaling, Int8Codec(**load_arrays(directory / _CODEC)))
