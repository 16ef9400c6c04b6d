"""The trained model that a command works with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.keys import Keys
from schemas.settings import Settings
from workers.cli.errors import CommandFailed

if TYPE_CHECKING:  # Importing it for real imports TensorFlow.
    from models.content import ContentModel


def load_content(settings: Settings, version: str | None) -> tuple[str, ContentModel]:
    """Return a version and its content model; the current version if ``version`` is None.

    Raises:
        CommandFailed: there is no current model, or it knows no features.
        BundleError: there is no such version, or it is damaged.
        ConnectionFailed: Redis does not answer.
    """
    from workers import connections
    from workers.lookup import serving_version
    from workers.registry import open_registry

    if version is None:
        client = connections.redis_client(settings.redis)
        version = serving_version(client, Keys(settings.redis.prefix))
    if version is None:
        raise CommandFailed("there is no current model: `latentstream train` makes one, or name one with --model")
    content = open_registry(settings).load(version).content
    if content is None:
        raise CommandFailed(
            f"the model {version} was trained on interactions alone and knows no features: publish items with"
            " features and train again"
        )
    return version, content
