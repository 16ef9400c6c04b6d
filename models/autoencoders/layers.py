"""Layers with a seed and a name of their own each."""

from __future__ import annotations

import itertools
from typing import Any

from models.runtime import keras


class Layers:
    """Makes the layers of one network. Equal seeds and calls in the same order give equal weights.

    Names are written to the file: left to Keras they would count up over the process, and the same weights
    would differ in bytes.
    """

    def __init__(self, seed: int, prefix: str) -> None:
        self._seeds = itertools.count(seed * 1000)
        self._prefix = prefix
        self._numbers = itertools.count()

    def dense(self, width: int, activation: str | None = None) -> Any:
        """Return a dense layer, Glorot-uniform."""
        return keras.layers.Dense(width, activation=activation, kernel_initializer=self._glorot(), name=self._name())

    def zero_dense(self, width: int) -> Any:
        """Return a dense layer that starts at zero: a residual branch that is not there yet."""
        return keras.layers.Dense(width, kernel_initializer="zeros", name=self._name())

    def convolution(self, filters: int, stride: int = 1, activation: str | None = "gelu") -> Any:
        """Return a 3x3 convolution with the same padding."""
        return keras.layers.Conv2D(
            filters,
            3,
            stride,
            padding="same",
            activation=activation,
            kernel_initializer=self._glorot(),
            name=self._name(),
        )

    def upscaling(self, filters: int) -> Any:
        """Return a transposed convolution that doubles height and width."""
        # Kernel and stride divide, so that every pixel is covered as often: no checker-board (Odena et al. 2016).
        return keras.layers.Conv2DTranspose(
            filters,
            4,
            2,
            padding="same",
            activation="gelu",
            kernel_initializer=self._glorot(),
            name=self._name(),
        )

    def normalisation(self) -> Any:
        """Return a layer normalisation, which unlike batch normalisation treats each row by itself."""
        return keras.layers.LayerNormalization(epsilon=1e-5, name=self._name())

    def activation(self, name: str) -> Any:
        """Return an activation."""
        return keras.layers.Activation(name, name=self._name())

    def _glorot(self) -> Any:
        return keras.initializers.GlorotUniform(seed=next(self._seeds))

    def _name(self) -> str:
        return f"{self._prefix}_{next(self._numbers)}"
