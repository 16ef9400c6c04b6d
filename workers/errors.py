"""Errors that a person can repair."""


class Repairable(Exception):  # noqa: N818 - the message is what counts
    """Its message says what is wrong, where, and what to do; the command line prints it without a trace."""
