"""Between the units of the features and those that the networks work in."""

from __future__ import annotations

import math
from typing import Final, Self

import msgspec
import numpy as np

from models.arrays import Doubles, Floats
from models.autoencoders.config import LossName

# Far beyond any scaled value of training, and small enough that no product in a network overflows.
_LARGEST_INPUT: Final = 1e6


class Scaling(msgspec.Struct, frozen=True):
    """``scaled = (features - mean) / scale``; each array is float32 ``[input_dim]``.

    ``low`` and ``high`` are the range seen in training, which what is decoded keeps to.
    """

    mean: Floats
    scale: Floats
    low: Floats
    high: Floats

    @classmethod
    def fit(cls, features: Floats, *, loss: LossName = "squared", shared_scale: bool) -> Self:
        """Return the scaling of float32 ``[n, input_dim]`` for a loss, see :mod:`models.autoencoders.losses`.

        With ``shared_scale`` all dimensions have one scale, as pixels should: else the rarely lit ones at
        the border would count as much as the rest.

        Raises:
            ValueError: the multinomial loss with a negative feature.
        """
        low, high = features.min(axis=0), features.max(axis=0)
        mean, scale = _location(features.astype(np.float64), loss)
        if shared_scale:
            scale[:] = math.sqrt(float(np.mean(scale**2)))
        # A feature that never changed in training has no scale of its own.
        scale[scale < 1e-6] = 1.0
        return cls(mean.astype(np.float32), scale.astype(np.float32), low, high)

    def scaled(self, features: Floats) -> Floats:
        """Return ``features`` in the networks' units, float32 ``[n, input_dim]``."""
        with np.errstate(over="ignore"):
            scaled: Floats = np.clip((features - self.mean) / self.scale, -_LARGEST_INPUT, _LARGEST_INPUT)
        return scaled

    def restore(self, output: Floats) -> Floats:
        """Return float32 ``[n, input_dim]`` in input units, inside the range seen in training."""
        restored: Floats = np.clip(self.mean + self.scale * output, self.low, self.high)
        return restored

    def arrays(self) -> dict[str, Floats]:
        """Return what the bundle stores."""
        return msgspec.structs.asdict(self)


def _location(wide: Doubles, loss: LossName) -> tuple[Doubles, Doubles]:
    """Return mean and scale, float64 ``[input_dim]``."""
    width = wide.shape[1]
    zero: Doubles = np.zeros(width)
    match loss:
        case "squared":
            return wide.mean(axis=0), wide.std(axis=0)
        case "binary":
            return wide.min(axis=0), np.ptp(wide, axis=0)
        case "cosine":
            length = float(np.linalg.norm(wide, axis=1).mean())
            return zero, np.full(width, length / math.sqrt(width))
        case "multinomial":
            if wide.min() < 0:
                raise ValueError("the multinomial loss is for counts or shares: no feature may be negative")
            return zero, np.full(width, float(wide.mean()))
