"""Public data sets for the demos and the benchmark. None of them is part of this repository."""

from __future__ import annotations

from workers.errors import Repairable


class DatasetMissing(Repairable):
    """A data set is not on this machine; the message says how to get it."""
