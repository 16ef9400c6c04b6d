"""``latentstream bench pipeline``: how fast one worker process works through a topic that was filled beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from workers.bench import interaction_pipeline, item_pipeline


class Pipeline(msgspec.Struct, frozen=True):
    """Items by kind, and interactions by the length of the histories."""

    items: dict[str, item_pipeline.Items]
    interactions: dict[str, interaction_pipeline.Interactions]


def measure(events: int, interactions: int, only: Sequence[str], say: Callable[[str], None]) -> Pipeline:
    """Measure the parts named in ``only``: kinds of items, and lengths of histories.

    Raises:
        StackError, ConnectionFailed, SandboxError: what a person must repair.
    """
    kinds = [kind for kind in item_pipeline.KINDS if kind in only]
    lengths = [length for length in interaction_pipeline.HISTORIES if str(length) in only]
    return Pipeline(
        {kind: item_pipeline.measure(kind, events, say) for kind in kinds},
        {str(length): interaction_pipeline.measure(length, interactions, say) for length in lengths},
    )
