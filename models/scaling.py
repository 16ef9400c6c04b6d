"""Between the units of the features and those that the networks work in."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple, Self

import msgspec
import numpy as np

from models.arrays import Doubles, Floats
from models.autoencoders.config import LossName

# Far beyond any scaled value of training, and small enough that no product in a network overflows.
_LARGEST_INPUT: Final = 1e6
# Beyond it exp() is no float32.
_LARGEST_LOGARITHM: Final = 80.0

Tails = Literal["linear", "logarithmic"]


class Maths(NamedTuple):
    """The functions that scaling needs, of arrays or of tensors."""

    arcsinh: Callable[[Any], Any]
    sinh: Callable[[Any], Any]
    clip: Callable[[Any, Any, Any], Any]


_NUMPY: Final = Maths(np.arcsinh, np.sinh, np.clip)


class Scaling(msgspec.Struct, frozen=True):
    """``scaled = (features - mean) / scale``, or ``arcsinh`` of it, over ``bend``; arrays are float32 ``[input_dim]``.

    ``low`` and ``high`` are the range seen in training, which what is decoded keeps to.
    """

    mean: Floats
    scale: Floats
    low: Floats
    high: Floats
    bend: Floats | None = None

    @classmethod
    def fit(cls, features: Floats, *, loss: LossName = "squared", shared_scale: bool, tails: Tails = "linear") -> Self:
        """Return the scaling of float32 ``[n, input_dim]`` for a loss, see :mod:`models.autoencoders.losses`.

        With ``shared_scale`` all dimensions have one scale, as pixels should: else the rarely lit ones at
        the border would count as much as the rest.

        With logarithmic ``tails`` values within about two deviations of the median stay as they are and those
        beyond grow with their logarithm (arcsinh: Burbidge et al. 1988), so that a few huge ones do not outweigh
        the rest.

        Raises:
            ValueError: the multinomial loss with a negative feature, or logarithmic tails with another loss than
                squared.
        """
        low, high = features.min(axis=0), features.max(axis=0)
        wide = features.astype(np.float64)
        mean, scale = _location(wide, loss)
        if tails == "linear":
            return cls(mean.astype(np.float32), _usable(scale, shared_scale), low, high)
        if loss != "squared":
            raise ValueError(f"logarithmic tails go with the squared loss, not with {loss}: set tails to linear")
        median: Doubles = np.median(wide, axis=0)
        width = _usable(2 * scale, shared_scale)
        bend = _usable(np.std(np.arcsinh((wide - median) / width), axis=0), shared_scale)
        return cls(median.astype(np.float32), width, low, high, bend)

    def scaled(self, features: Floats) -> Floats:
        """Return ``features`` in the networks' units, float32 ``[n, input_dim]``."""
        with np.errstate(over="ignore"):
            scaled: Floats = self.scaled_by(_NUMPY, features)
        return scaled

    def restore(self, output: Floats) -> Floats:
        """Return float32 ``[n, input_dim]`` in input units, inside the range seen in training."""
        with np.errstate(over="ignore"):
            restored: Floats = self.restored_by(_NUMPY, output)
        return restored

    def scaled_by(self, maths: Maths, features: Any) -> Any:
        """Return what :meth:`scaled` does, by the functions of ``maths``."""
        scaled = (features - self.mean) / self.scale
        if self.bend is not None:
            scaled = maths.arcsinh(scaled) / self.bend
        return maths.clip(scaled, -_LARGEST_INPUT, _LARGEST_INPUT)

    def restored_by(self, maths: Maths, output: Any) -> Any:
        """Return what :meth:`restore` does, by the functions of ``maths``."""
        if self.bend is not None:
            output = maths.sinh(maths.clip(output * self.bend, -_LARGEST_LOGARITHM, _LARGEST_LOGARITHM))
        return maths.clip(self.mean + self.scale * output, self.low, self.high)

    def arrays(self) -> dict[str, Floats]:
        """Return what the bundle stores."""
        return {name: array for name, array in msgspec.structs.asdict(self).items() if array is not None}


def _usable(scale: Doubles, shared: bool) -> Floats:
    """Return what can be divided by, float32 ``[input_dim]``; one for all if ``shared``."""
    if shared:
        scale = np.full_like(scale, math.sqrt(float(np.mean(scale**2))))
    # A feature that never changed in training has no scale of its own.
    return np.where(scale < 1e-6, 1.0, scale).astype(np.float32)


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
