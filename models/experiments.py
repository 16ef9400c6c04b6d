"""Confidence intervals of an experiment, from sums over groups of users.

The events of one user are not independent, so an interval that takes them for that is too narrow. Users are: each
group is a random set of them, and its sums are one observation. A rate is a ratio of two such sums, whose variance is
that of its linearisation (the delta method; Deng, Knoblich and Lu, "Applying the Delta Method in Metric Analytics",
KDD 2018).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import special

from models.arrays import Doubles


class Estimate(NamedTuple):
    """A value, its standard error, and its degrees of freedom; the last two are NaN and 0 where they are unknown."""

    value: float
    error: float
    freedom: float

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the interval by Student's t; NaN at both ends where the standard error is unknown."""
        if not self.freedom:
            return math.nan, math.nan
        width = float(special.stdtrit(self.freedom, 0.5 + confidence / 2)) * self.error
        return self.value - width, self.value + width

    def p_value(self) -> float:
        """Return how likely a value so far from 0, or farther, is where the truth is 0; NaN where it is unknown."""
        if not self.freedom:
            return math.nan
        if self.error == 0:
            return float(self.value == 0)
        return float(2 * special.stdtr(self.freedom, -abs(self.value / self.error)))


def ratio(numerators: Doubles, denominators: Doubles) -> Estimate:
    """Return ``sum(numerators) / sum(denominators)``; both float64 ``[groups]``.

    Groups with nothing in the denominator do not count. With fewer than two others there is no standard error, and
    without any no value (NaN).
    """
    counted = denominators > 0
    top, bottom = numerators[counted], denominators[counted]
    count = len(top)
    if not count:
        return Estimate(math.nan, math.nan, 0)
    value = float(top.sum() / bottom.sum())
    if count == 1:
        return Estimate(value, math.nan, 0)
    residuals = (top - value * bottom) / bottom.mean()
    return Estimate(value, float(np.sqrt(np.sum(residuals**2) / (count - 1) / count)), count - 1)


def difference(first: Estimate, second: Estimate) -> Estimate:
    """Return ``second - first`` of two independent estimates (Welch's degrees of freedom)."""
    value = second.value - first.value
    if not first.freedom or not second.freedom:
        return Estimate(value, math.nan, 0)
    variances = first.error**2, second.error**2
    total = sum(variances)
    if total == 0:
        return Estimate(value, 0.0, min(first.freedom, second.freedom))
    freedom = total**2 / (variances[0] ** 2 / first.freedom + variances[1] ** 2 / second.freedom)
    return Estimate(value, math.sqrt(total), freedom)
