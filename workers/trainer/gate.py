"""Whether a new model takes the place of the current one."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from models.arrays import Ints
from workers.evaluation.prequential import bootstrap
from workers.trainer.judging import K, Questions, gains

# One end of it is what counts, so that of twenty challengers that are only as good one passes.
COVERAGE: Final = 0.9


class Figures(msgspec.Struct, frozen=True):
    """NDCG at 50 of lists asked just before interactions that nobody trained on.

    ``interval`` is the 90% interval of challenger minus champion, a bootstrap over the users. The champion's figures
    are None for the first model.
    """

    questions: int
    users: int
    challenger: float
    champion: float | None
    difference: float | None
    interval: tuple[float, float] | None
    popularity: float
    random: float


class Decision(msgspec.Struct, frozen=True):
    """Whether to promote, and why, for people."""

    promote: bool
    why: str


def compare(
    asked: Questions, challenger: Ints, champion: Ints | None, popular: Ints, random: float, seed: int
) -> Figures:
    """Return the figures of the places ``[n]`` at which the lists of each had what was asked for."""
    new, old = gains(challenger), gains(champion) if champion is not None else None
    return Figures(
        questions=len(asked),
        users=len(np.unique(asked.users)),
        challenger=float(new.mean()),
        champion=float(old.mean()) if old is not None else None,
        difference=float((new - old).mean()) if old is not None else None,
        interval=bootstrap(new - old, asked.users, seed, COVERAGE) if old is not None else None,
        popularity=float(gains(popular).mean()),
        random=random,
    )


def decide(figures: Figures, margin: float) -> Decision:
    """Return whether the challenger is better by ``margin``, a share of the champion's quality, and surely better.

    Surely: the interval of the difference is above 0. The first model only has to be better than chance.
    """
    measured = f"on {figures.questions:,} held-out interactions of {figures.users:,} users"
    beside = f"popularity {figures.popularity:.4f}"
    if figures.champion is None or figures.difference is None or figures.interval is None:
        found = f"NDCG@{K} {figures.challenger:.4f} ({beside}, chance {figures.random:.4f}) {measured}"
        if figures.challenger <= figures.random:
            return Decision(promote=False, why=f"no better than chance: {found}")
        return Decision(promote=True, why=f"the first model: {found}")
    low, high = figures.interval
    found = (
        f"NDCG@{K} {figures.challenger:.4f}, the current model's {figures.champion:.4f} (difference "
        f"{figures.difference:+.4f}, {COVERAGE:.0%} interval {low:+.4f} to {high:+.4f}; {beside}) {measured}"
    )
    if figures.difference < margin * figures.champion:
        return Decision(promote=False, why=f"not better by {margin:.1%}: {found}")
    if low <= 0:
        return Decision(promote=False, why=f"not surely better: {found}")
    return Decision(promote=True, why=f"better: {found}")
