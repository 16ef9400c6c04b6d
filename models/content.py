"""The content model: item features to a code of a few bytes, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np

from models.anomaly import Detector
from models.arrays import Bytes, Floats, float_matrix
from models.autoencoders import Autoencoder, AutoencoderConfig, build_autoencoder
from models.codecs import Codec, CodecName, load_codec
from models.codecs.residual import ResidualCodec
from models.codecs.search import decoded_search
from models.files import load_arrays, save_arrays
from models.runtime import FixedBatch, tf
from models.scaling import Maths, Scaling

_CODEC: Final = "content_codec.npz"
_SCALING: Final = "content_scaling.npz"
_TENSORS: Final = Maths(tf.asinh, tf.sinh, tf.clip_by_value)


class Encoded(NamedTuple):
    """What n items became."""

    codes: Bytes  # [n, code_bytes]
    errors: Floats  # mean squared error of an item in squared input units, [n]
    scores: Floats  # anomaly score, above 1 for an anomaly, [n]


class ContentModel:
    """A trained autoencoder with its codec. Rows are computed independently of each other, bit for bit."""

    def __init__(
        self, autoencoder: Autoencoder, scaling: Scaling, codec: Codec, detector: Detector | None = None
    ) -> None:
        self.autoencoder = autoencoder
        self.config: AutoencoderConfig = autoencoder.config
        self.scaling = scaling
        self.codec = codec
        self.detector = detector
        self._encode = FixedBatch(
            lambda features: autoencoder.encoder(scaling.scaled_by(_TENSORS, features)), self.config.input_dim
        )
        self._decode = FixedBatch(autoencoder.reconstruct, self.config.latent_dim)
        self._compare = FixedBatch(self._errors, self.config.input_dim, self.config.latent_dim)
        self._search = (
            decoded_search(
                codec.codebooks, codec.candidates, autoencoder.encoder, autoencoder.loss_of_latents, self.input_dim
            )
            if isinstance(codec, ResidualCodec) and codec.candidates > 1
            else None
        )
        # Compiles what there is to compile, so that the first real call is not the slow one.
        codec.encode(np.zeros((1, self.config.latent_dim), np.float32))

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

    def encode(self, features: Floats) -> Encoded:
        """Return codes, reconstruction errors and anomaly scores of float32 ``[n, input_dim]``.

        Scores are NaN where the model has no detector. The error is the mean over the features of the squared
        difference between ``features`` and what a reader decodes from the code.

        Raises:
            ValueError: the width is wrong or a value is NaN or infinite.
        """
        features = float_matrix(features, self.input_dim, "features")
        latents = self.latents_of(features)
        codes = self.codes(features) if self._search is not None else self.codec.encode(latents)
        errors, scaled_errors = self._compare(features, self.latents(codes)).T
        if self.detector is None:
            return Encoded(codes, errors, np.full(len(codes), np.nan, np.float32))
        return Encoded(codes, errors, self.detector.score(latents, scaled_errors))

    def scaled_errors(self, features: Floats) -> Floats:
        """Return the mean squared errors in the networks' units, float32 ``[n]``, of features ``[n, input_dim]``."""
        errors: Floats = self._compare(features, self.latents(self.codes(features)))[:, 1]
        return errors

    def codes(self, features: Floats) -> Bytes:
        """Return codes alone, uint8 ``[n, code_bytes]``, of features ``[n, input_dim]``."""
        if self._search is not None:
            return self._search(self.scaling.scaled(features))
        return self.codec.encode(self.latents_of(features))

    def latents_of(self, features: Floats) -> Floats:
        """Return the latents before the codec, float32 ``[n, latent_dim]``, of features ``[n, input_dim]``."""
        latents: Floats = self._encode(features)
        return latents

    def latents(self, codes: Bytes) -> Floats:
        """Return what the codes decode to, float32 ``[n, latent_dim]``."""
        return self.codec.decode(codes)

    def decode(self, latents: Floats) -> Floats:
        """Return the features that latents stand for, float32 ``[n, input_dim]`` in input units."""
        return self.scaling.restore(self._decode(latents))

    def reconstruct(self, codes: Bytes) -> Floats:
        """Return the features that the codes stand for, float32 ``[n, input_dim]`` in input units."""
        return self.decode(self.latents(codes))

    def save(self, directory: Path) -> None:
        """Write the model's files into ``directory``."""
        self.autoencoder.save(directory)
        save_arrays(directory / _CODEC, self.codec.arrays())
        save_arrays(directory / _SCALING, self.scaling.arrays())
        if self.detector is not None:
            self.detector.save(directory)

    def _errors(self, features: Any, latents: Any) -> Any:
        """Return the mean squared errors in input units and in the networks', ``[batch, 2]``, of decoded latents.

        In float64; what float32 cannot hold is infinite.
        """
        output = self.autoencoder.reconstruct(latents)
        restored = self.scaling.restored_by(_TENSORS, output)
        scaled = self.scaling.scaled_by(_TENSORS, features)
        pairs = ((features, restored), (scaled, output))
        return tf.stack([_mean_squares(one, other) for one, other in pairs], axis=1)

    @classmethod
    def load(cls, directory: Path, config: AutoencoderConfig, codec: CodecName, *, detects: bool) -> Self:
        """Return the model that :meth:`save` wrote."""
        autoencoder = build_autoencoder(config)
        autoencoder.load(directory)
        scaling = Scaling(**load_arrays(directory / _SCALING))
        detector = Detector.load(directory) if detects else None
        return cls(autoencoder, scaling, load_codec(codec, load_arrays(directory / _CODEC)), detector)


def _mean_squares(one: Any, other: Any) -> Any:
    difference = tf.cast(one, tf.float64) - tf.cast(other, tf.float64)
    return tf.cast(tf.reduce_mean(tf.square(difference), axis=1), tf.float32)
