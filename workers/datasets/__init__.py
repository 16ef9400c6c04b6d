"""Public data sets for the demos and the benchmark. None of them is part of this repository."""


class DatasetMissing(Exception):  # noqa: N818
    """A data set is not on this machine; the message says how to get it."""
