"""What can go wrong here that a person can repair. Messages say what is wrong, where, and what to do."""

from __future__ import annotations


class ModelError(Exception):
    """Base of the errors of this room."""


class BundleError(ModelError):
    """A bundle is missing, damaged, incomplete or of another format."""


class StoreError(BundleError):
    """The store of a registry cannot be reached, denies something, or lacks a package; it may be well later."""


class TooLittleDataError(ModelError):
    """There are too few items or interactions to train on."""
