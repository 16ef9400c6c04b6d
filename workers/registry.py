"""The registry that the settings name."""

from __future__ import annotations

from models.registry import Registry
from models.remote_registry import RemoteRegistry
from schemas.settings import Settings


def open_registry(settings: Settings) -> Registry:
    """Return the registry: a directory, or what there is at a URL.

    Raises:
        StoreError: a package for the protocol of the URL is missing, or something in the URL is wrong.
    """
    if settings.registry_url is None:
        return Registry(settings.registry)
    return RemoteRegistry(settings.registry_url, settings.registry)
